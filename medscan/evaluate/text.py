"""Figures as tables of text, for the screen."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from medscan.evaluate.compare import Comparison, Difference
from medscan.evaluate.figures import Evaluation, LesionFigures, Stratum
from medscan.metrics import Estimate
from medscan.text import printable

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


def further_tables(evaluation: Evaluation) -> Iterator[tuple[str, Table]]:
    """Yield titles and tables of lesions and strata, as far as there are figures of them."""
    found = evaluation.lesions
    if found is not None and not math.isnan(found.mean.value):
        yield f"{found.lesions} lesions in {found.images} slices", _lesion_table(found)
    for variable, group in groupby(evaluation.strata, lambda stratum: stratum.variable):
        yield f"by {variable}", _strata_table(list(group))


def _lesion_table(found: LesionFigures) -> Table:
    """A column for each rate of false alarms per image, and the mean."""
    estimates = [*found.sensitivities, found.mean]
    rates = [f"1/{1 / rate:.0f}" if rate < 1 else f"{rate:.0f}" for rate in found.rates]
    table = [["false alarms per image", *rates, "mean"]]
    for word, field in (("lesions found", "value"), ("  from", "low"), ("  to", "high")):
        values = [getattr(estimate, field) for estimate in estimates]
        if not math.isnan(values[-1]):
            table.append([word, *(f"{value:.3f}" for value in values)])
    return table


def _strata_table(strata: list[Stratum]) -> Table:
    """A line for each value of a variable."""
    table = [["", "abnormal", "patients", "AUROC", "sensitivity", "specificity"]]
    for one in strata:
        figures = [one.auroc.value, one.sensitivity.value, one.specificity.value]
        shown = ["-" if math.isnan(value) else f"{value:.3f}" for value in figures]
        if not math.isnan(one.auroc.low):
            shown[0] += f" ({one.auroc.low:.3f}-{one.auroc.high:.3f})"
        name, count = printable(one.value, 40), _counts(one)
        figures_shown = ["too few", "", ""] if one.is_too_small else shown
        table.append([name, count, str(one.patients), *figures_shown])
    return table


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


def pair_tables(measured: Comparison) -> Iterator[tuple[str, Table]]:
    """Yield a title for each pair of detectors, and a line for each difference."""
    for pair in measured.pairs:
        title = f"{measured.names[pair.first]} minus {measured.names[pair.second]}"
        lines = [_difference(d) for d in pair.differences if not math.isnan(d.value.value)]
        yield title, [["", "difference", "from", "to", "p (DeLong)"], *lines]


def _difference(found: Difference) -> list[str]:
    figure, value = ROWS[found.figure], found.value
    ends = ["" if math.isnan(end) else f"{end:+.3f}" for end in (value.low, value.high)]
    p_value = "<0.001" if found.p_value < 0.001 else f"{found.p_value:.3f}"
    return [
        figure if found.level == "lesions" else f"{found.level}: {figure}",
        f"{value.value:+.3f}",
        *ends,
        "" if math.isnan(found.p_value) else p_value,
    ]


def clustering(measured: Comparison) -> str:
    """Say in a line how far DeLong's test can be relied on; empty where it can, or is not used.

    It takes images as independent, which those of one patient are not.
    """
    patients = Counter(row.patient for row in measured.evaluations[0].rows)
    several = sum(count > 1 for count in patients.values())
    if not (several and measured.pairs):
        return ""
    return (
        f"{several} of {len(patients)} patients have several images, which DeLong's test takes "
        "as independent: go by the intervals"
    )
