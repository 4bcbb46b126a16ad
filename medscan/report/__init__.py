"""results.h5 -> what people look at: an HTML worklist, and tables as CSV and JSON lines."""

from medscan.report.accounting import write_accounting
from medscan.report.content import ReportOptions
from medscan.report.decisions import Decisions, Word, read_decisions
from medscan.report.folder import write_report, write_single
from medscan.report.single import write_html
from medscan.report.sweep import sweep_tables
from medscan.report.table import COLUMNS, TABLES, write_csv, write_json_lines

__all__ = [
    "COLUMNS",
    "TABLES",
    "Decisions",
    "ReportOptions",
    "Word",
    "read_decisions",
    "sweep_tables",
    "write_accounting",
    "write_csv",
    "write_html",
    "write_json_lines",
    "write_report",
    "write_single",
]
