"""Grids of methods and baselines on several data sets -> one table."""

from medscan.suites.declare import FIGURES, Cell, Suite, cells_of, find_suite, read_suite
from medscan.suites.run import run_suite
from medscan.suites.table import SuiteRow, format_figure, rows_of, write_table
from medscan.suites.text import cell_line, suite_tables

__all__ = [
    "FIGURES",
    "Cell",
    "Suite",
    "SuiteRow",
    "cell_line",
    "cells_of",
    "find_suite",
    "format_figure",
    "read_suite",
    "rows_of",
    "run_suite",
    "suite_tables",
    "write_table",
]
