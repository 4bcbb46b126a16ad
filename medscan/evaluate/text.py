"""Figures as tables of text, for the screen."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from medscan.evaluate.compare import Difference, Pair
from medscan.evaluate.declare import FIGURES, Cell
from medscan.evaluate.figures import Evaluation
from medscan.evaluate.table import SuiteRow, format_figure
from medscan.metrics import Estimate

ROWS = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "aupro": "AUPRO (FPR 0.3)",
    "f1_max": "F1, best",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "calibration_error": "calibration error",
    "found": "lesions found, mean",
}
"""Figures of a detector, with the words for them."""

COLUMNS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "f1_max": "best F1",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
}
"""Figures of a suite, with the words for them."""

Table = list[list[str]]
"""A table; its first row is the head."""


def evaluation_table(evaluation: Evaluation) -> Table:
    """Return a column for each level measured, with intervals beside the figures."""
    levels: dict[str, Any] = {
        name: level
        for name in ("slices", "studies", "pixels")
        if (level := getattr(evaluation, name)) is not None
    }
    table = [["", *levels], ["abnormal", *map(_counts, levels.values())]]
    for field, label in ROWS.items():
        values = [_estimate(getattr(level, field, None)) for level in levels.values()]
        if any(value != "-" for value in values):
            table.append([label, *values])
    return table


def lesion_table(evaluation: Evaluation) -> tuple[str, Table] | None:
    """Return a title, and a column for each rate of false alarms per image; None without masks."""
    found = evaluation.lesions
    if found is None or math.isnan(found.mean.value):
        return None
    estimates = [*found.sensitivities, found.mean]
    rates = [f"1/{1 / rate:.0f}" if rate < 1 else f"{rate:.0f}" for rate in found.rates]
    table = [["false alarms per image", *rates, "mean"]]
    for word, field in (("lesions found", "value"), ("  from", "low"), ("  to", "high")):
        values = [getattr(estimate, field) for estimate in estimates]
        if not math.isnan(values[-1]):
            table.append([word, *(f"{value:.3f}" for value in values)])
    return f"{found.lesions} lesions in {found.images} slices", table


def _counts(level: Any) -> str:
    if hasattr(level, "regions"):
        return f"{level.regions} regions"
    return f"{level.abnormals} of {level.normals + level.abnormals}"


def _estimate(value: Estimate | None) -> str:
    if value is None or math.isnan(value.value):
        return "-"
    if math.isnan(value.low):
        return f"{value.value:.3f}"
    return f"{value.value:.3f} ({value.low:.3f}-{value.high:.3f})"


def pair_table(pair: Pair) -> Table:
    """Return a column for each level at which two detectors were compared."""
    found = {(d.level, d.figure): d for d in pair.differences}
    levels = list(dict.fromkeys(level for level, _ in found))
    table = [["", *levels]]
    for figure, label in ROWS.items():
        cells = [_difference(found.get((level, figure))) for level in levels]
        if any(cell != "-" for cell in cells):
            table.append([label, *cells])
        p_values = [_p_value(found.get((level, figure))) for level in levels]
        if any(value != "-" for value in p_values):
            table.append([f"  p ({label}, DeLong)", *p_values])
    return table


def _difference(found: Difference | None) -> str:
    if found is None or math.isnan(found.value.value):
        return "-"
    value, low, high = found.value.value, found.value.low, found.value.high
    return f"{value:+.3f}" if math.isnan(low) else f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def _p_value(found: Difference | None) -> str:
    if found is None or math.isnan(found.p_value):
        return "-"
    return "<0.001" if found.p_value < 0.001 else f"{found.p_value:.3f}"


def clustering(evaluation: Evaluation) -> str:
    """Say in a line how far DeLong's test can be relied on; empty where it can.

    It takes images as independent, which those of one patient are not.
    """
    patients = Counter(row.patient for row in evaluation.rows)
    several = sum(count > 1 for count in patients.values())
    if not several:
        return ""
    return (
        f"{several} of {len(patients)} patients have several images, which DeLong's test takes "
        "as independent: go by the intervals"
    )


def suite_tables(rows: Iterable[SuiteRow]) -> Iterator[tuple[str, Table]]:
    """Yield the name and the table of each data set, with the figures that it has."""
    for data, group in groupby(rows, lambda row: row.data):
        members = list(group)
        figures = [f for f in FIGURES if any(not math.isnan(row.mean[f]) for row in members)]
        head = ["", "K", "n", *(COLUMNS[f] for f in figures)]
        yield data, [head, *(_suite_row(row, figures) for row in members)]


def _suite_row(row: SuiteRow, figures: list[str]) -> list[str]:
    shots = "" if row.shots is None else str(row.shots)
    reference = "  published" if shots else row.method.strip("()")
    name = row.method if row.draws else reference
    values = [format_figure(row.mean[f], row.spread[f]) for f in figures]
    return [name, shots, str(row.draws or ""), *values]


def cell_line(cell: Cell, record: dict[str, Any]) -> str:
    """Return a line about a cell of a suite that was measured just now."""
    levels = {word: record[level] for word, level in (("image", "slices"), ("pixel", "pixels"))}
    values = {word: level["auroc"]["value"] for word, level in levels.items() if level}
    text = ", ".join(f"{w} AUROC {'-' if v is None else f'{v:.3f}'}" for w, v in values.items())
    seconds = f"fit {record['fit_seconds']:.0f} s, test {record['test_seconds']:.0f} s"
    return f"{cell.name}: {text}; {seconds}"
