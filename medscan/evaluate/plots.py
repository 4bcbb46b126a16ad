"""Curves and histograms of an evaluation, as SVG or PNG: the same bytes for the same figures."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from medscan.choices import PlotFormat
from medscan.errors import UsageError
from medscan.evaluate.compare import Comparison
from medscan.evaluate.figures import Evaluation
from medscan.files import make_folder, replacing
from medscan.metrics import RATES, Estimate
from medscan.text import printable

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by the colour-blind (Okabe and Ito, Color Universal Design, 2008)."""
STYLES = ("-", "--", "-.", ":")
"""Lines of the detectors differ in these too."""
RC = {"svg.hashsalt": "medscan", "text.parse_math": False, "font.size": 9.0}


def write_plots(
    measured: Comparison, folder: Path, plot_format: PlotFormat = PlotFormat.SVG
) -> list[Path]:
    """Plot roc, precision-recall, scores, and where there is something to show, froc, calibration.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    medscan.errors.UsageError
        If all slices have the same label, for which there are no curves.
    medscan.errors.DiskError
        If the folder or a file cannot be written.
    """
    if len({row.label for row in measured.evaluations[0].rows}) < 2:
        raise UsageError("--plots needs normal and abnormal images; the data has one kind only")
    import matplotlib as mpl

    make_folder(folder)
    plots: dict[str, Callable[[Comparison], Any]] = {
        "roc": _roc,
        "precision-recall": _precision_recall,
        "scores": _scores,
        "froc": _froc,
        "calibration": _calibration,
    }
    paths = []
    for name, draw in plots.items():
        with mpl.rc_context(RC), _quiet():
            if (figure := draw(measured)) is not None:
                paths.append(folder / f"{name}.{plot_format}")
                _save(figure, paths[-1], plot_format)
    return paths


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the warning back that a name has letters which the font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        yield


def _roc(measured: Comparison) -> Any:
    from sklearn.metrics import roc_curve

    figure, axes = _panel(measured, "False-positive rate (1 - specificity)", "Sensitivity")
    axes.plot((0, 1), (0, 1), color="0.6", linewidth=1, zorder=1)
    for n, found in enumerate(measured.evaluations):
        fpr, tpr, _ = roc_curve(*_labels_and_scores(found))
        label = _named(measured, n, "AUROC", found.slices.auroc)
        axes.plot(fpr, tpr, **_line(n), label=label)
    _legend(axes, "lower right")
    return figure


def _precision_recall(measured: Comparison) -> Any:
    from sklearn.metrics import precision_recall_curve

    figure, axes = _panel(measured, "Sensitivity (recall)", "Precision")
    first = measured.evaluations[0].slices
    share = first.abnormals / (first.abnormals + first.normals)
    axes.axhline(share, color="0.6", linewidth=1, zorder=1)
    for n, found in enumerate(measured.evaluations):
        precision, recall, _ = precision_recall_curve(*_labels_and_scores(found))
        label = _named(measured, n, "AP", found.slices.average_precision)
        axes.plot(recall, precision, drawstyle="steps-post", **_line(n), label=label)
    _legend(axes, "lower left")
    return figure


def _froc(measured: Comparison) -> Any:
    found = measured.evaluations[0].lesions
    if found is None or math.isnan(found.mean.value):
        return None
    figure, axes = _panel(measured, "False alarms per image", "Share of lesions found")
    rates = np.geomspace(RATES[0], RATES[-1], 300)
    for n, one in enumerate(measured.evaluations):
        if one.lesion_curve is not None and one.lesions is not None:
            label = _named(measured, n, "mean", one.lesions.mean)
            axes.plot(rates, one.lesion_curve.sensitivities(rates), **_line(n), label=label)
            points = [s.value for s in one.lesions.sensitivities]
            axes.plot(RATES, points, "o", color=_line(n)["color"], markersize=4)
    axes.set(xscale="log", xlim=(RATES[0] * 0.95, RATES[-1] * 1.05), aspect="auto")
    axes.set_xticks(RATES, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    axes.minorticks_off()
    axes.set_title(f"{found.lesions} lesions in {found.images} slices")
    _legend(axes, "lower right")
    return figure


def _calibration(measured: Comparison) -> Any:
    """Share of unseen normals that are flagged, against the rate that a threshold promises."""
    known = [
        n
        for n, found in enumerate(measured.evaluations)
        if not math.isnan(found.slices.calibration_error.value)
    ]
    if not known:
        return None
    figure, axes = _panel(measured, "Promised rate of flagged normals", "Share of normals flagged")
    rates, count = np.linspace(0, 0.5, 501), measured.evaluations[0].slices.normals
    fewest = min(len(measured.detectors[n].calibration.normals) for n in known)
    spread = 1.96 * np.sqrt(rates * (1 - rates) * (1 / count + 1 / fewest))
    band = (np.clip(rates - spread, 0, 1), np.clip(rates + spread, 0, 1))
    chance = f"95 % by chance, if the {count} normal slices were independent"
    axes.fill_between(rates, *band, color="0.88", linewidth=0, label=chance)
    axes.plot(rates, rates, color="0.6", linewidth=1)
    for n in known:
        calibration, found = measured.detectors[n].calibration, measured.evaluations[n]
        normals = np.array(calibration.normals)
        scores = np.array([row.score for row in found.rows if not row.label])
        higher = normals.size - np.searchsorted(normals, scores, side="left")
        p_values = np.sort((1 + higher) / (normals.size + 1))
        flagged = np.searchsorted(p_values, rates + 1e-12, side="right") / scores.size
        label = f"{_name(measured, n)}: {normals.size} normals in its calibration"
        axes.plot(rates, flagged, drawstyle="steps-post", **_line(n), label=label)
        actual = float(np.mean([bool(r.flagged) for r in found.rows if not r.label]))
        word = "at the threshold in use" if n == known[-1] else None
        dot = {"color": _line(n)["color"], "clip_on": False, "label": word}
        axes.plot([calibration.target_fpr], [actual], "o", **dot)
    axes.set(xlim=(0, 0.5), aspect="auto")
    _legend(axes, "upper left")
    return figure


def _scores(measured: Comparison) -> Any:
    """Histogram of the scores of each label, and the threshold, in a panel for each detector."""
    from matplotlib.figure import Figure

    count = len(measured.evaluations)
    figure = Figure(figsize=(5.6, 0.8 + 2.4 * count), layout="constrained")
    panels = figure.subplots(count, 1, squeeze=False)[:, 0]
    for n, (axes, found) in enumerate(zip(panels, measured.evaluations, strict=True)):
        labels, scores = _labels_and_scores(found)
        edges = np.linspace(scores.min(), max(scores.max(), scores.min() + 1e-6), 31)
        for label, word in enumerate(("normal", "abnormal")):
            mine = scores[labels == label]
            shares, _ = np.histogram(mine, edges)
            text = f"{word}, {mine.size} slices"
            axes.stairs(shares / mine.size, edges, **_filled(label), label=text)
        if not math.isnan(found.slices.threshold):
            text = f"threshold {found.slices.threshold:.3g}"
            axes.axvline(found.slices.threshold, color="black", linestyle=":", label=text)
        axes.set(ylabel="Share of the label's slices", title=_name(measured, n))
        axes.grid(alpha=0.3)
        _legend(axes, "best")
    panels[-1].set_xlabel("Score (no unit; higher is more abnormal)")
    return figure


def _filled(label: int) -> dict[str, Any]:
    style = {"fill": True, "alpha": 0.55, "facecolor": COLOURS[label], "edgecolor": COLOURS[label]}
    return style | {"hatch": "////"} if label else style


def _labels_and_scores(found: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    return np.array([r.label for r in found.rows]), np.array([r.score for r in found.rows])


def _line(number: int) -> dict[str, Any]:
    style = STYLES[number % len(STYLES)]
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": style, "linewidth": 1.8}


def _name(measured: Comparison, number: int) -> str:
    name = printable(measured.names[number], 32)
    return f" {name}" if name.startswith("_") else name  # which would keep it out of a legend


def _named(measured: Comparison, number: int, word: str, value: Estimate) -> str:
    interval = "" if math.isnan(value.low) else f" (95 %: {value.low:.3f} to {value.high:.3f})"
    return f"{_name(measured, number)}: {word} {value.value:.3f}{interval}"


def _panel(measured: Comparison, x_label: str, y_label: str) -> tuple[Any, Any]:
    """A figure and its axes, titled with what was measured."""
    from matplotlib.figure import Figure

    first = measured.evaluations[0].slices
    figure = Figure(figsize=(5.6, 5.4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_title(
        f"{first.abnormals} abnormal and {first.normals} normal slices of {first.patients} patients"
    )
    axes.grid(alpha=0.3)
    return figure, axes


def _legend(axes: Any, place: str) -> None:
    axes.legend(loc=place, fontsize=8, framealpha=0.9)


def _save(figure: Any, path: Path, plot_format: PlotFormat) -> None:
    undated = {"Date": None} if plot_format is PlotFormat.SVG else {"Software": None}
    with replacing(path) as aside:
        figure.savefig(aside, format=str(plot_format), metadata=undated, dpi=150)
