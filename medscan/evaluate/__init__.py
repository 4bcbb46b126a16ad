"""Detectors and labelled data -> figures with intervals; grids of both -> one table."""

from medscan.evaluate.compare import Comparison, Difference, Pair, compare
from medscan.evaluate.declare import FIGURES, Cell, Suite, cells_of, find_suite, read_suite
from medscan.evaluate.export import to_plain, write_csv, write_json, write_tables
from medscan.evaluate.figures import Evaluation, Row, Stratum
from medscan.evaluate.plots import write_plots
from medscan.evaluate.run import EvaluateOptions, evaluate, judge_on_test
from medscan.evaluate.suite import run_suite
from medscan.evaluate.table import SuiteRow, format_figure, rows_of, write_table
from medscan.evaluate.text import (
    cell_line,
    clustering,
    evaluation_table,
    further_tables,
    pair_tables,
    suite_tables,
)

__all__ = [
    "FIGURES",
    "Cell",
    "Comparison",
    "Difference",
    "EvaluateOptions",
    "Evaluation",
    "Pair",
    "Row",
    "Stratum",
    "Suite",
    "SuiteRow",
    "cell_line",
    "cells_of",
    "clustering",
    "compare",
    "evaluate",
    "evaluation_table",
    "find_suite",
    "format_figure",
    "further_tables",
    "judge_on_test",
    "pair_tables",
    "read_suite",
    "rows_of",
    "run_suite",
    "suite_tables",
    "to_plain",
    "write_csv",
    "write_json",
    "write_plots",
    "write_table",
    "write_tables",
]
