"""Detectors and labelled data -> figures with intervals; grids of both -> one table."""

from medscan.evaluate.declare import FIGURES, Cell, Suite, cells_of, find_suite, read_suite
from medscan.evaluate.export import to_plain, write_csv, write_json, write_plots
from medscan.evaluate.figures import Evaluation
from medscan.evaluate.run import EvaluateOptions, evaluate, judge_on_test
from medscan.evaluate.suite import run_suite
from medscan.evaluate.table import SuiteRow, format_figure, rows_of, write_table
from medscan.evaluate.text import cell_line, evaluation_table, suite_tables

__all__ = [
    "FIGURES",
    "Cell",
    "EvaluateOptions",
    "Evaluation",
    "Suite",
    "SuiteRow",
    "cell_line",
    "cells_of",
    "evaluate",
    "evaluation_table",
    "find_suite",
    "format_figure",
    "judge_on_test",
    "read_suite",
    "rows_of",
    "run_suite",
    "suite_tables",
    "to_plain",
    "write_csv",
    "write_json",
    "write_plots",
    "write_table",
]
