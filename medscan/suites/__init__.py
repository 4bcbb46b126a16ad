"""Grids of methods and baselines on several data sets -> one table."""

from medscan.suites.declare import BASELINES, FIGURES, Cell, Suite, cells_of, find_suite, read_suite
from medscan.suites.ranks import (
    Gap,
    Standing,
    gaps_of,
    standing_tables,
    standings_of,
    write_gaps,
)
from medscan.suites.run import run_suite
from medscan.suites.table import SuiteRow, format_figure, rows_of, write_table
from medscan.suites.text import cell_line, suite_tables

__all__ = [
    "BASELINES",
    "FIGURES",
    "Cell",
    "Gap",
    "Standing",
    "Suite",
    "SuiteRow",
    "cell_line",
    "cells_of",
    "find_suite",
    "format_figure",
    "gaps_of",
    "read_suite",
    "rows_of",
    "run_suite",
    "standing_tables",
    "standings_of",
    "suite_tables",
    "write_gaps",
    "write_table",
]
