"""A detector and labelled data -> the same, with what lower precisions do to its scores.

For int8, the slices of every fourth patient tell how its layers are rounded, and those of the
others what that does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medscan import detector as detectors
from medscan.choices import Precision
from medscan.detector import Detector
from medscan.errors import UsageError
from medscan.evaluate import Evaluation, score_with, slices_of, unseen_items
from medscan.history import Layer, Trial
from medscan.runtimes import (
    Graph,
    OpenVinoModel,
    cores,
    graph_of,
    lower_precisions,
    measure_layers,
)
from medscan.shots import Item, LabelledSlice, read_items

if TYPE_CHECKING:
    from medscan.methods import Method

FEWEST = 20
"""Slices of each label that a trial needs: fewer show nothing."""


def optimise(path: Path, data: Path, out: Path, most: int = 400, split: str = "rest") -> Detector:
    """Try a detector in lower precisions, and save it with what came of that.

    All computations score the same slices; see `medscan.history.Trial` for what is compared.

    Parameters
    ----------
    path : Path
        Detector file, or name of a shipped one.
    data : Path
        Labelled data; see `medscan.shots.data`.
    out : Path
        File of the detector, with the same tensors, threshold and normals.
    most : int
        About how many slices are scored, evenly spaced over the data.
    split : {"rest", "train"}
        Slices of patients whom the detector was not fitted on; or, where there are no others,
        those of the training split.

    Returns
    -------
    Detector
        As saved; its trials are the new ones.

    Raises
    ------
    medscan.errors.UsageError
        If OpenVINO has no lower precision on this CPU, or the data shows too little.
    medscan.errors.ExportError
        If the detector cannot be converted for OpenVINO.
    medscan.errors.DetectorError
        If its file has changed meanwhile.
    medscan.errors.DiskError
        If the file could not be written.
    """
    file = detectors.find(path)
    found = detectors.read(file)
    lower = lower_precisions()
    if not lower:
        raise UsageError("OpenVINO has no precision on this CPU that is faster than fp32")
    graph = graph_of(found, partial(_method, file, found))
    measured, judged = _apart(sample(found, data, graph.square.size, most, split))
    full = _scored(graph, Precision.FP32, found, judged)
    _check(data, full)
    trials = []
    for precision in lower:
        int8 = precision is Precision.INT8
        layers = measure_layers(graph, (one.image for one in measured)) if int8 else ()
        low = _scored(graph, precision, found, judged, layers)
        trial = compare(precision, full, low, found.gate.limit if found.gate else math.nan)
        trials.append(replace(trial, layers=layers, seen=split == "train"))
    return replace(found, trials=tuple(trials)).save_with_tensors_of(out, file)


def _method(file: Path, found: Detector) -> Method:
    return found.load_method(file, found.load_backbone(device="cpu", precision=Precision.FP32))


def _apart(slices: list[LabelledSlice]) -> tuple[list[LabelledSlice], list[LabelledSlice]]:
    """Slices of every fourth patient, and those of the others."""
    chosen = set(sorted({one.item.patient for one in slices})[::4])
    return (
        [one for one in slices if one.item.patient in chosen],
        [one for one in slices if one.item.patient not in chosen],
    )


def _scored(
    graph: Graph,
    precision: Precision,
    found: Detector,
    slices: list[LabelledSlice],
    layers: tuple[Layer, ...] = (),
) -> Evaluation:
    model = OpenVinoModel(graph, precision, cores(), layers)
    return score_with(model, found.calibration, slices)


def sample(
    found: Detector, data: Path, size: int, most: int, split: str = "rest"
) -> list[LabelledSlice]:
    """About `most` slices, evenly spaced; see `optimise`."""
    items = read_items(data) if split == "train" else unseen_items(data, [found], "rest")
    items = sorted(items, key=lambda item: item.name)

    def drawn(part: Sequence[Item]) -> list[LabelledSlice]:
        return list(islice(slices_of(found.domain.plane, found.window, size, part), 2 * most))

    each = max(1, len(drawn(items[:1])))  # one for a picture, many for a volume
    return drawn(items[:: max(1, each * len(items) // most)])


def _check(data: Path, full: Evaluation) -> None:
    """Refuse data that shows too little, and detectors without a threshold."""
    for label, what in ((0, "normal"), (1, "abnormal")):
        count = sum(row.label == label for row in full.rows)
        if count < FEWEST:
            raise UsageError(
                f"{data} leaves {count} {what} slices to compare precisions on; {FEWEST} are needed"
            )
    if len({row.score for row in full.rows}) < 2:
        raise UsageError(f"{data}: all its slices have the same score")
    if any(row.flagged is None for row in full.rows):
        raise UsageError("the detector has no threshold: fit it with --folds 2 or more")


def compare(
    precision: Precision, full: Evaluation, low: Evaluation, limit: float = math.nan
) -> Trial:
    """Compare the scores of the same slices in single precision and in a lower one.

    Parameters
    ----------
    precision : Precision
        The lower one.
    full, low : Evaluation
    limit : float
        Distance from which on a slice is unlike the shots; NaN without a gate.
    """
    from scipy.stats import spearmanr

    before, after = (np.array([row.score for row in found.rows]) for found in (full, low))
    changed = sum(a.flagged != b.flagged for a, b in zip(full.rows, low.rows, strict=True))
    areas = [found.pixels.auroc.value for found in (full, low) if found.pixels is not None]
    pixels = areas[1] - areas[0] if len(areas) == 2 and np.isfinite(areas).all() else None
    return Trial(
        str(precision),
        f"openvino {version('openvino')}",
        len(before),
        changed,
        float((after - before).mean() / before.std()),
        float(spearmanr(before, after).statistic),
        low.slices.auroc.value - full.slices.auroc.value,
        pixels,
        None if math.isnan(limit) else _moved(full.distances, low.distances, limit),
    )


def _moved(before: Sequence[float], after: Sequence[float], limit: float) -> int:
    """Number of slices that change sides of a limit of distance; NaN lies beyond, as in a scan."""
    return sum((a < limit) != (b < limit) for a, b in zip(before, after, strict=True))
