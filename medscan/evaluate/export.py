"""Writing evaluations: plain values, JSON, CSV and curves."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medscan.detector import Detector
from medscan.errors import UsageError
from medscan.evaluate.figures import Evaluation
from medscan.files import replacing
from medscan.metrics import Estimate
from medscan.text import cell


def to_plain(evaluation: Evaluation) -> dict[str, Any]:
    """Figures as nested dicts, without the rows of slices; NaN and infinities become None."""
    facts = asdict(evaluation)
    del facts["rows"]
    finite: dict[str, Any] = _finite_or_none(facts)
    return finite


def _finite_or_none(value: Any) -> Any:
    """Replace NaN and infinities, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {key: _finite_or_none(item) for key, item in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def write_json(
    fitted: Detector, evaluation: Evaluation, request: dict[str, Any], path: Path
) -> None:
    """Write all figures, the request that they answer, and the detector's identity."""
    facts = {
        "detector": {
            "name": fitted.name,
            "sha256": fitted.digest,
            "method": fitted.method,
            "protocol": fitted.protocol,
            "selection": fitted.selection,
            "backbone": fitted.backbone,
            "backbone_sha256": fitted.backbone_digest,
        },
        "asked": request,
    }
    with replacing(path) as aside:
        aside.write_text(json.dumps(facts | to_plain(evaluation), indent=1) + "\n")


def write_csv(evaluation: Evaluation, path: Path) -> None:
    """Write a row per slice: name, label, score. Patients are left out; names are escaped."""
    with replacing(path) as aside, aside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("name", "label", "score"))
        writer.writerows((cell(name), label, repr(s)) for name, _, label, s in evaluation.rows)


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
