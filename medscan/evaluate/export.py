"""Writing evaluations: plain values, JSON, CSV and curves."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medscan.detector import Detector
from medscan.errors import UsageError
from medscan.evaluate.compare import Pair
from medscan.evaluate.figures import Evaluation
from medscan.files import replacing
from medscan.metrics import Estimate
from medscan.text import cell

LEVELS = ("slices", "studies", "pixels", "lesions")
"""Parts of an evaluation with figures."""


def to_plain(evaluation: Evaluation) -> dict[str, Any]:
    """Figures as nested dicts, without the rows of slices; NaN and infinities become None."""
    parts = {level: getattr(evaluation, level) for level in LEVELS}
    facts = {level: None if part is None else asdict(part) for level, part in parts.items()}
    finite: dict[str, Any] = _finite_or_none(facts)
    return finite


def _finite_or_none(value: Any) -> Any:
    """Replace NaN and infinities, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {key: _finite_or_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_or_none(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


Measured = Sequence[tuple[Detector, Evaluation]]
"""Detectors, and what was measured of each on the same slices."""


def write_json(
    measured: Measured, pairs: Sequence[Pair], request: dict[str, Any], path: Path
) -> None:
    """Write all figures, the request that they answer, and the identity of each detector.

    The figures of a single detector stand at the top; of several, in the list `detectors`, with
    their differences in `pairs`.
    """
    parts = [{"detector": _identity(fitted)} | to_plain(found) for fitted, found in measured]
    facts: dict[str, Any] = {"asked": request}
    if len(parts) == 1:
        facts |= parts[0]
    else:
        names = unique_names(measured)
        facts |= {"detectors": parts, "pairs": [_plain_pair(pair, names) for pair in pairs]}
    with replacing(path) as aside:
        aside.write_text(json.dumps(facts, indent=1) + "\n")


def unique_names(measured: Measured) -> list[str]:
    """Names of the detectors; those of one name are numbered."""
    names = [fitted.name for fitted, _ in measured]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: n + 1].count(name)})"
        for n, name in enumerate(names)
    ]


def _identity(fitted: Detector) -> dict[str, str]:
    return {
        "name": fitted.name,
        "sha256": fitted.digest,
        "method": fitted.method,
        "protocol": fitted.protocol,
        "selection": fitted.selection,
        "backbone": fitted.backbone,
        "backbone_sha256": fitted.backbone_digest,
    }


def _plain_pair(pair: Pair, names: Sequence[str]) -> dict[str, Any]:
    plain: dict[str, Any] = _finite_or_none(asdict(pair))
    return plain | {"first": names[pair.first], "second": names[pair.second]}


def write_csv(measured: Measured, path: Path) -> None:
    """Write a row per slice: name, label, and the score of each detector.

    Patients are left out; names are escaped.
    """
    rows = measured[0][1].rows
    scores = zip(*([row.score for row in found.rows] for _, found in measured), strict=True)
    names = ["score"] if len(measured) == 1 else list(map(cell, unique_names(measured)))
    with replacing(path) as aside, aside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("name", "label", *names))
        for row, values in zip(rows, scores, strict=True):
            writer.writerow((cell(row.name), row.label, *map(repr, values)))


def write_plots(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Plot ROC and precision-recall curves of slices, as roc.svg and precision-recall.svg.

    Raises
    ------
    medscan.errors.UsageError
        If all slices have the same label, for which there are no curves.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    labels, scores = [r[2] for r in evaluation.rows], [r[3] for r in evaluation.rows]
    if len(set(labels)) < 2:
        raise UsageError("--plots needs normal and abnormal images; the data has one kind only")
    fpr, tpr, _ = roc_curve(labels, scores)
    precision, recall, _ = precision_recall_curve(labels, scores)
    paths = [folder / "roc.svg", folder / "precision-recall.svg"]
    figure, axes = _panel("False-positive rate", "Sensitivity", "AUROC", evaluation.slices.auroc)
    axes.plot((0, 1), (0, 1), color="0.6", linestyle=":")
    axes.plot(fpr, tpr)
    _save(figure, paths[0])
    value = evaluation.slices.average_precision
    figure, axes = _panel("Sensitivity (recall)", "Precision", "AP", value)
    axes.plot(recall, precision, drawstyle="steps-post")
    _save(figure, paths[1])
    return paths


def _panel(x_label: str, y_label: str, title: str, value: Estimate) -> tuple[Any, Any]:
    """A matplotlib figure and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    interval = "" if math.isnan(value.low) else f" ({value.low:.3f} to {value.high:.3f})"
    axes.set_title(f"{title} {value.value:.3f}{interval}")
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    """Save as SVG, with the same bytes for the same curve."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "medscan"}), replacing(path) as aside:
        figure.savefig(aside, format="svg", metadata={"Date": None})
