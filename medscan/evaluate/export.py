"""Evaluations as plain values, JSON, CSV and curves."""

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


def plain(found: Evaluation) -> dict[str, Any]:
    """Figures without the single slices; what cannot be known is None."""
    facts = asdict(found)
    del facts["rows"]
    known: dict[str, Any] = _known(facts)
    return known


def _known(value: Any) -> Any:
    """NaN and infinities, which JSON does not have, as None."""
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def write_json(fitted: Detector, found: Evaluation, asked: dict[str, Any], path: Path) -> None:
    """All figures with what was asked and of which detector."""
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
        "asked": asked,
    }
    with replacing(path) as aside:
        aside.write_text(json.dumps(facts | plain(found), indent=1) + "\n")


def write_csv(found: Evaluation, path: Path) -> None:
    """A row a slice: name, label, score. Patients stay out; names are inert and printable."""
    with replacing(path) as aside, aside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("name", "label", "score"))
        writer.writerows((cell(name), label, repr(s)) for name, _, label, s in found.rows)


def write_plots(found: Evaluation, folder: Path) -> list[Path]:
    """ROC and precision-recall curves of slices, as roc.svg and precision-recall.svg.

    Raises
    ------
    medscan.errors.UsageError
        The slices are all of one label, which gives no curves.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    labels, scores = [r[2] for r in found.rows], [r[3] for r in found.rows]
    if len(set(labels)) < 2:
        raise UsageError("curves need normal and abnormal images; there is one kind only")
    fpr, tpr, _ = roc_curve(labels, scores)
    precision, recall, _ = precision_recall_curve(labels, scores)
    paths = [folder / "roc.svg", folder / "precision-recall.svg"]
    figure, axes = _panel("False-positive rate", "Sensitivity", "AUROC", found.slices.auroc)
    axes.plot((0, 1), (0, 1), color="0.6", linestyle=":")
    axes.plot(fpr, tpr)
    _save(figure, paths[0])
    value = found.slices.average_precision
    figure, axes = _panel("Sensitivity (recall)", "Precision", "AP", value)
    axes.plot(recall, precision, drawstyle="steps-post")
    _save(figure, paths[1])
    return paths


def _panel(across: str, up: str, word: str, value: Estimate) -> tuple[Any, Any]:
    """A figure and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=across, ylabel=up, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    interval = "" if math.isnan(value.low) else f" ({value.low:.3f} to {value.high:.3f})"
    axes.set_title(f"{word} {value.value:.3f}{interval}")
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    """The same bytes for the same curve."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "medscan"}), replacing(path) as aside:
        figure.savefig(aside, format="svg", metadata={"Date": None})
