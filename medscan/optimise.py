"""A detector and labelled data -> the same, with what lower precisions do to its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path

import numpy as np

from medscan import detector as detectors
from medscan.choices import Precision, RuntimeName
from medscan.detector import Detector
from medscan.errors import UsageError
from medscan.evaluate import Evaluation, score_with, slices_of, unseen_items
from medscan.history import Trial
from medscan.runtimes import choose_runtime, load
from medscan.shots import Item, LabelledSlice

LOWER = (Precision.BF16,)
"""Precisions that a detector is tried in."""
FEWEST = 20
"""Slices of each label that a trial needs: fewer show nothing."""


def optimise(path: Path, data: Path, out: Path, most: int = 400) -> Detector:
    """Try a detector in lower precisions, and save it with what came of that.

    Both computations score the same slices, of patients whom the detector was not fitted on; see
    `medscan.history.Trial` for what is compared.

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
    for precision in LOWER:
        choose_runtime(RuntimeName.OPENVINO, "cpu", precision)
    model = load(file, found, Precision.FP32, runtime=RuntimeName.OPENVINO)
    slices = sample(found, data, model.square.size, most)
    full = score_with(model, found.calibration, slices)
    _check(data, full)
    trials = []
    for precision in LOWER:
        low = load(file, found, precision, runtime=RuntimeName.OPENVINO)
        trials.append(compare(precision, full, score_with(low, found.calibration, slices)))
    return replace(found, trials=tuple(trials)).save_with_tensors_of(out, file)


def sample(found: Detector, data: Path, size: int, most: int) -> list[LabelledSlice]:
    """About `most` slices of patients whom a detector was not fitted on, evenly spaced."""
    items = sorted(unseen_items(data, [found], "rest"), key=lambda item: item.name)

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
                f"{data} has {count} {what} slices of patients that the detector was not fitted "
                f"on; {FEWEST} are needed to compare precisions"
            )
    if len({row.score for row in full.rows}) < 2:
        raise UsageError(f"{data}: all its slices have the same score")
    if any(row.flagged is None for row in full.rows):
        raise UsageError("the detector has no threshold: fit it with --folds 2 or more")


def compare(precision: Precision, full: Evaluation, low: Evaluation) -> Trial:
    """Compare the scores of the same slices in single precision and in a lower one."""
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
    )
