"""results.h5 -> what people look at: a CSV table and an HTML worklist."""

from medscan.report.accounting import write_accounting
from medscan.report.page import write_html
from medscan.report.table import COLUMNS, write_csv

__all__ = ["COLUMNS", "write_accounting", "write_csv", "write_html"]
