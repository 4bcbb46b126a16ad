"""results.h5 -> what people look at: an HTML worklist, and tables as CSV and JSON lines."""

from medscan.report.accounting import write_accounting
from medscan.report.cleanup import remove_old_tables
from medscan.report.colours import Scale
from medscan.report.content import ReportOptions
from medscan.report.decisions import Decisions, Target, Verdict, read_decisions
from medscan.report.folder import write_report, write_single
from medscan.report.pictures import medscan_exif
from medscan.report.single import write_html
from medscan.report.table import COLUMNS, TABLES, write_csv, write_json_lines
from medscan.report.worklist import Row, rank, worst_slice

__all__ = [
    "COLUMNS",
    "TABLES",
    "Decisions",
    "ReportOptions",
    "Row",
    "Scale",
    "Target",
    "Verdict",
    "medscan_exif",
    "rank",
    "read_decisions",
    "remove_old_tables",
    "worst_slice",
    "write_accounting",
    "write_csv",
    "write_html",
    "write_json_lines",
    "write_report",
    "write_single",
]
