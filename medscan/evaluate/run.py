"""A detector and labelled data -> an evaluation."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medscan import detector
from medscan.choices import Plane
from medscan.detector import Calibration, Detector
from medscan.errors import UsageError
from medscan.evaluate.figures import Evaluation, figures
from medscan.evaluate.observe import PreparedBatches, file_of, observe
from medscan.fit import (
    FitOptions,
    Item,
    LabelledSlice,
    fingerprint,
    read_items,
    stem,
    stream_slices,
)
from medscan.methods import Method

log = logging.getLogger("medscan.evaluate")


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What `medscan evaluate` is asked for; see medscan-evaluate(1)."""

    split: str = "test"
    protocol: str = "clean"
    draws: int = 1000
    seed: int = 0
    device: str = "cpu"
    precision: str = "fp32"


def evaluate(
    path: Path,
    data: Path,
    options: EvaluateOptions,
    progress: Callable[[Iterator[LabelledSlice], int], Iterator[LabelledSlice]] | None = None,
) -> tuple[Detector, Evaluation]:
    """Measure a detector on data that it was not fitted on.

    Parameters
    ----------
    path : Path
        A detector file, or the name of a shipped one.
    data : Path
        See `medscan.fit.data`.
    options : EvaluateOptions
    progress : callable, optional
        Wraps the slices, given the number of files.

    Raises
    ------
    medscan.errors.UsageError
        The data cannot be used, or shares patients with the detector's shots.
    """
    _check(options)
    found = detector.find(path)
    fitted = detector.read(found)
    if fitted.selection == "test":
        log.warning("%s: its epoch was chosen on a test set, for which it is too good", path)
    items = unseen(data, fitted, options.split, strict=options.protocol == "clean")
    backbone = fitted.load_backbone(device=options.device, precision=options.precision)
    method = fitted.load_method(found, backbone)
    slices = slices_of(fitted, method, items)
    shown = progress(slices, len(items)) if progress else slices
    return fitted, measure(fitted, method, shown, options)


def slices_of(fitted: Detector, method: Method, items: list[Item]) -> Iterator[LabelledSlice]:
    """Labelled slices as a detector wants them."""
    plane = Plane(fitted.domain.plane) if fitted.domain.plane else None
    return stream_slices(items, size=method.backbone.size, window=fitted.window, plane=plane)


def measure(
    fitted: Detector,
    method: Method,
    slices: Iterable[LabelledSlice],
    options: EvaluateOptions,
    kept: PreparedBatches | None = None,
) -> Evaluation:
    """Figures of a loaded method on labelled slices; `kept` as in `observe`."""
    _check(options)
    published = options.protocol == "paper"
    seen = observe(method, slices, published=published, kept=kept)
    if not seen.truths:
        raise UsageError("every image is background: there is nothing to measure")
    return figures(
        seen,
        fitted.calibration,
        patch=method.backbone.patch,
        published=published,
        draws=options.draws,
        seed=options.seed,
    )


def _check(options: EvaluateOptions) -> None:
    if options.split not in ("test", "rest"):
        raise UsageError(f"--split {options.split}: choose test or rest")
    if options.protocol not in ("clean", "paper"):
        raise UsageError(f"--protocol {options.protocol}: choose clean or paper")
    if options.draws < 0 or options.seed < 0:
        raise UsageError("--draws and --seed count from 0")


def unseen(data: Path, fitted: Detector, split: str, *, strict: bool = True) -> list[Item]:
    """Items of a split, none of a patient whose images the detector was fitted on.

    Parameters
    ----------
    data : Path
    fitted : Detector
    split : {"test", "rest"}
        The data's own test split; or "rest", every image of a patient that gave no shot.
    strict : bool
        Whether a patient on both sides is an error; else it is only warned of.

    Raises
    ------
    UsageError
        A patient is on both sides, or nothing is left.
    """
    train, test = (read_items(data, s, required=False) for s in ("train", "test"))
    shown = _shown(data, [*train, *test], fitted)
    if split == "rest":
        items = [item for item in [*train, *test] if item.patient not in shown]
        if not items:
            raise UsageError(f"{data}: every patient gave a shot; there is no one left to test on")
        return sorted(items, key=lambda item: item.name)
    if not test:
        raise UsageError(
            f"{data} has no test split; add one (a column split), or use --split rest to measure "
            "on all patients that gave no shot"
        )
    shared = {item.patient for item in test} & shown
    if shared:
        text = f"{data}: {len(shared)} patients of the test split gave shots to this detector"
        if strict:
            raise UsageError(f"{text}; figures on them would say nothing")
        log.warning("%s: the figures are too good", text)
    return test


def _shown(data: Path, items: list[Item], fitted: Detector) -> set[str]:
    """Patients who gave shots, by what is in their files; by name without fingerprints."""
    if fitted.fingerprints:
        return {i.patient for i in items if fingerprint(i.path) in fitted.fingerprints}
    shots = _shots(data, fitted)
    return {i.patient for i in items if i.name in shots}


def _shots(data: Path, fitted: Detector) -> set[str]:
    """Names, as `data` has them, of files that a detector was fitted on, if they are of `data`."""
    names = [name for part in fitted.shots.values() for name in part]
    files = {*names, *map(file_of, names)}
    # A zero-shot fit lists them below the name of their data set.
    for below in {f"{stem(data)}/", f"{stem(data.resolve())}/"}:
        files |= {name.removeprefix(below) for name in files}
    return files


def judge_on_test(data: Path, options: FitOptions) -> Callable[[Method], float]:
    """What published code chooses its epoch by: image and pixel AUROC on the test set, summed.

    Parameters
    ----------
    data : Path
        With a test split.
    options : FitOptions
        Of the fit; its protocol must be "paper".

    Raises
    ------
    UsageError
        The protocol is another one, or there is no test split.
    """
    if options.protocol != "paper":
        raise UsageError("--select test chooses on the test set: it is only for --protocol paper")
    items = read_items(data, "test")
    plane = Plane(options.domain.plane) if options.domain.plane else None
    slices: list[LabelledSlice] = []
    nothing = Calibration((), math.nan, options.target_fpr, True, 0.0, 1.0)

    def judge(method: Method) -> float:
        size = method.backbone.size
        if not slices:
            slices.extend(stream_slices(items, size=size, window=options.window, plane=plane))
        seen = observe(method, slices, published=True)
        found = figures(seen, nothing, patch=method.backbone.patch, published=True, draws=0)
        return found.slices.auroc.value + (found.pixels.auroc.value if found.pixels else 0.0)

    return judge
