"""Detectors and labelled data -> figures with intervals, and differences of detectors."""

from medscan.evaluate.compare import Comparison, Difference, Pair, compare
from medscan.evaluate.export import to_plain, write_csv, write_json, write_tables
from medscan.evaluate.figures import Evaluation, Row, Stratum
from medscan.evaluate.observe import PreparedBatches
from medscan.evaluate.plots import write_plots
from medscan.evaluate.run import (
    EvaluateOptions,
    evaluate,
    judge_on_test,
    measure,
    score_with,
    slices_of,
    unseen_items,
)
from medscan.evaluate.strata import bands, elements_at
from medscan.evaluate.text import clustering, evaluation_table, further_tables, pair_tables

__all__ = [
    "Comparison",
    "Difference",
    "EvaluateOptions",
    "Evaluation",
    "Pair",
    "PreparedBatches",
    "Row",
    "Stratum",
    "bands",
    "clustering",
    "compare",
    "elements_at",
    "evaluate",
    "evaluation_table",
    "further_tables",
    "judge_on_test",
    "measure",
    "pair_tables",
    "score_with",
    "slices_of",
    "to_plain",
    "unseen_items",
    "write_csv",
    "write_json",
    "write_plots",
    "write_tables",
]
