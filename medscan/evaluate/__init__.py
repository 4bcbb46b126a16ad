"""Detectors and labelled data -> figures with intervals; grids of both -> one table."""

from medscan.evaluate.compare import Difference, Pair, compare
from medscan.evaluate.declare import FIGURES, Cell, Suite, cells_of, find_suite, read_suite
from medscan.evaluate.export import to_plain, unique_names, write_csv, write_json, write_plots
from medscan.evaluate.figures import Evaluation, Row
from medscan.evaluate.run import EvaluateOptions, evaluate, judge_on_test
from medscan.evaluate.suite import run_suite
from medscan.evaluate.table import SuiteRow, format_figure, rows_of, write_table
from medscan.evaluate.text import (
    cell_line,
    clustering,
    evaluation_table,
    lesion_table,
    pair_table,
    suite_tables,
)

__all__ = [
    "FIGURES",
    "Cell",
    "Difference",
    "EvaluateOptions",
    "Evaluation",
    "Pair",
    "Row",
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
    "judge_on_test",
    "lesion_table",
    "pair_table",
    "read_suite",
    "rows_of",
    "run_suite",
    "suite_tables",
    "to_plain",
    "unique_names",
    "write_csv",
    "write_json",
    "write_plots",
    "write_table",
]
