"""results.h5 -> an HTML worklist for people, and tables as CSV and JSON lines."""

from medscan.report.accounting import write_accounting
from medscan.report.cleanup import remove_old_tables
from medscan.report.colours import Scale
from medscan.report.decisions import WHOLE_STUDY, Decisions, JudgedPart, Verdict, read_decisions
from medscan.report.folder import write_report, write_single
from medscan.report.options import ReportOptions
from medscan.report.page import render
from medscan.report.pictures import medscan_exif
from medscan.report.rarity import normals_of
from medscan.report.regions import Region, regions_of
from medscan.report.run import failure_messages
from medscan.report.single import write_html, write_worklist
from medscan.report.source import Drawn
from medscan.report.standing import stack_standing
from medscan.report.table import COLUMNS, TABLES, table_records, write_csv, write_json_lines
from medscan.report.worklist import Row, rank, worst_slice

__all__ = [
    "COLUMNS",
    "TABLES",
    "WHOLE_STUDY",
    "Decisions",
    "Drawn",
    "JudgedPart",
    "Region",
    "ReportOptions",
    "Row",
    "Scale",
    "Verdict",
    "failure_messages",
    "medscan_exif",
    "normals_of",
    "rank",
    "read_decisions",
    "regions_of",
    "remove_old_tables",
    "render",
    "stack_standing",
    "table_records",
    "worst_slice",
    "write_accounting",
    "write_csv",
    "write_html",
    "write_json_lines",
    "write_report",
    "write_single",
    "write_worklist",
]
