"""A detector and labelled data -> an evaluation."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from medscan import detector
from medscan.choices import Plane, Precision, RuntimeName
from medscan.detector import Detector
from medscan.donors import digests
from medscan.errors import UsageError
from medscan.evaluate.compare import Comparison, compare
from medscan.evaluate.figures import Evaluation, figures
from medscan.evaluate.observe import (
    Observations,
    PreparedBatches,
    file_of,
    observe,
    observe_model,
)
from medscan.evaluate.strata import read_values, strata_of
from medscan.fitting import FitOptions, fingerprint
from medscan.methods import Method
from medscan.normals import Calibration
from medscan.runtimes import Model, Square, choose_precision, load
from medscan.shots import Item, LabelledSlice, read_items, read_splits, stem, stream_slices

log = logging.getLogger("medscan.evaluate")


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """Options of `medscan evaluate`; see medscan-evaluate(1)."""

    split: str = "test"
    protocol: str = "clean"
    draws: int = 1000
    seed: int = 0
    device: str = "cpu"
    precision: Precision = Precision.FP32
    by: tuple[str, ...] = ()
    runtime: RuntimeName = RuntimeName.TORCH


def evaluate(
    paths: Sequence[Path],
    data: Path,
    options: EvaluateOptions,
    progress: Callable[[Iterator[LabelledSlice], int], Iterator[LabelledSlice]] | None = None,
) -> Comparison:
    """Measure detectors on the same data, that none of them was fitted on.

    Slices that are background in the window of one detector are left out for all.

    Parameters
    ----------
    paths : sequence of Path
        Detector files, or names of shipped ones.
    data : Path
        See `medscan.shots.data`.
    options : EvaluateOptions
    progress : callable, optional
        Wraps the iterator of slices to show progress; also takes the number of files.

    Raises
    ------
    medscan.errors.UsageError
        If the data cannot be used, or shares patients with the shots of a detector; or if the
        detectors would not see the same slices.
    """
    _check(options)
    files = [detector.find(path) for path in paths]
    fitted = [detector.read(file) for file in files]
    for path, one in zip(paths, fitted, strict=True):
        if one.selection == "test":
            log.warning(
                "%s: its epoch was chosen on a test set; figures on it are optimistic", path
            )
    items = unseen_items(data, fitted, options.split, strict=options.protocol == "clean")
    values = read_values(data, items, options.by)
    seen, patches = [], []
    fitted = [_settled(one, options) for one in fitted]
    for file, one in zip(files, fitted, strict=True):
        score, square = _scoring(file, one, options)
        slices = slices_of(one.domain.plane, one.window, square.size, items)
        seen.append(_observed(score(progress(slices, len(items)) if progress else slices)))
        patches.append(square.patch)
    common = _common(fitted, items, seen)
    found = [
        _figures(one.calibration, observed, patch, options, common)
        for one, observed, patch in zip(fitted, seen, patches, strict=True)
    ]
    draws, seed = options.draws, options.seed
    evaluations = tuple(
        replace(one, strata=strata_of(one.rows, values, draws, seed)) for one in found
    )
    return Comparison(tuple(fitted), evaluations, compare(evaluations, draws, seed))


def _common(
    fitted: Sequence[Detector], items: list[Item], seen: Sequence[Observations]
) -> frozenset[str] | None:
    """Names of the slices that all saw; None if that is every slice."""
    names = [frozenset(truth.name for truth in observed.truths) for observed in seen]
    common, every = frozenset.intersection(*names), frozenset.union(*names)
    planes = sorted({one.domain.plane or "the one that is stored" for one in fitted})
    volumes = {item.name for item in items if not item.sources} - every
    if len(planes) > 1 and any(file_of(name) in volumes for name in every):
        raise UsageError(
            f"the detectors cut volumes in different planes ({', '.join(planes)}): their slices "
            "cannot be compared; measure them one by one"
        )
    if not common:
        raise UsageError("no image is more than background for every detector")
    if len(common) == len(every):
        return None
    log.warning(
        "%d of %d slices are background for one of the detectors and left out for all",
        len(every) - len(common),
        len(every),
    )
    return common


def slices_of(plane: str, window: str, size: int, items: Sequence[Item]) -> Iterator[LabelledSlice]:
    """Load labelled slices with the plane and window of a detector, and its side in pixels."""
    cut = Plane(plane) if plane else None
    return stream_slices(list(items), size=size, window=window, plane=cut)


def _settled(one: Detector, options: EvaluateOptions) -> Detector:
    """Return a detector with the precision that it is measured in."""
    precision = options.precision
    if precision is Precision.AUTO:
        precision = choose_precision(one, options.runtime, options.device)
    return replace(one, precision=precision)


def _scoring(
    file: Path, one: Detector, options: EvaluateOptions
) -> tuple[Callable[[Iterable[LabelledSlice]], Observations], Square]:
    """Load a detector; return what scores slices with it, and the sizes of its images."""
    precision = Precision(one.precision)
    if options.protocol == "clean":
        model = load(file, one, precision, runtime=options.runtime, device=options.device)
        return partial(observe_model, model), model.square
    # What the authors' test code works out of a method's levels, only PyTorch can.
    backbone = one.load_backbone(device=options.device, precision=precision)
    method = one.load_method(file, backbone)
    return partial(observe, method, published=True), Square.of(backbone)


def score_with(
    model: Model, calibration: Calibration, slices: Iterable[LabelledSlice]
) -> Evaluation:
    """Measure a loaded detector on labelled slices, without intervals."""
    observed = _observed(observe_model(model, slices))
    return figures(observed, calibration, patch=model.square.patch, draws=0)


def measure(
    calibration: Calibration,
    method: Method,
    slices: Iterable[LabelledSlice],
    options: EvaluateOptions,
    cache: PreparedBatches | None = None,
) -> Evaluation:
    """Measure a method and its calibration on labelled slices; `cache` as in `observe`."""
    _check(options)
    published = options.protocol == "paper"
    observed = _observed(observe(method, slices, published=published, cache=cache))
    return _figures(calibration, observed, method.backbone.patch, options)


def _observed(observed: Observations) -> Observations:
    if not observed.truths:
        raise UsageError("every image is background: there is nothing to measure")
    return observed


def _figures(
    calibration: Calibration,
    observed: Observations,
    patch: int,
    options: EvaluateOptions,
    only: frozenset[str] | None = None,
) -> Evaluation:
    return figures(
        observed,
        calibration,
        patch=patch,
        published=options.protocol == "paper",
        draws=options.draws,
        seed=options.seed,
        only=only,
    )


def _check(options: EvaluateOptions) -> None:
    if options.split not in ("test", "rest"):
        raise UsageError(f"--split {options.split}: choose test or rest")
    if options.protocol not in ("clean", "paper"):
        raise UsageError(f"--protocol {options.protocol}: choose clean or paper")
    if options.draws < 0 or options.seed < 0:
        raise UsageError("--draws and --seed must be 0 or more")


def unseen_items(
    data: Path, fitted: Sequence[Detector], split: str, *, strict: bool = True
) -> list[Item]:
    """Read the items of a split, of patients whose images none of the detectors was fitted on.

    Parameters
    ----------
    data : Path
    fitted : sequence of Detector
    split : {"test", "rest"}
        The data's own test split; or "rest", every image of a patient without shots.
    strict : bool
        Whether shots of a patient of the test split are an error, or only logged as a warning.

    Raises
    ------
    UsageError
        If a patient of the test split gave shots, or no items are left.
    """
    splits = read_splits(data)
    train, test = splits["train"], splits["test"]
    gave = [_patients_of_shots(data, [*train, *test], one) for one in fitted]
    fitted_patients = set[str]().union(*gave)
    if split == "rest":
        items = [item for item in [*train, *test] if item.patient not in fitted_patients]
        if not items:
            raise UsageError(f"{data}: every patient gave a shot; no patient is left to test on")
        return sorted(items, key=lambda item: item.name)
    if not test:
        raise UsageError(
            f"{data} has no test split; add one (a column split), or use --split rest to measure "
            "on all patients that gave no shot"
        )
    for one, patients in zip(fitted, gave, strict=True):
        if shared := {item.patient for item in test} & patients:
            text = f"{data}: {len(shared)} patients of the test split gave shots to {one.name}"
            if strict:
                raise UsageError(f"{text}; figures on them would be optimistic; use --split rest")
            log.warning("%s: the figures are optimistic", text)
    return test


def _patients_of_shots(data: Path, items: list[Item], fitted: Detector) -> set[str]:
    """Patients who gave shots, by the content of their files and by whom the files are of.

    Without fingerprints they are known by name.
    """
    if not fitted.fingerprints:
        shot_names = _shot_names(data, fitted)
        return {i.patient for i in items if i.name in shot_names}
    prints = {i.path: fingerprint(i.path) for i in items}
    gave = {i.patient for i in items if prints[i.path] in fitted.fingerprints}
    stated = [i for i in items if i.identities]
    if stated and fitted.donors is None and not set(fitted.fingerprints) <= set(prints.values()):
        log.warning(
            "whose images %s was fitted on is not known here: only its shots themselves are looked "
            "for in %s, not other images of the same patients",
            fitted.name,
            data,
        )
    known = frozenset(fitted.donors or ())
    whose = ((i.patient, digests(i.identities, fitted.fingerprints)) for i in stated)
    return gave | {patient for patient, names in whose if not known.isdisjoint(names)}


def _shot_names(data: Path, fitted: Detector) -> set[str]:
    """Names that items of `data` have if the detector was fitted on them or on their slices."""
    slices = [name for part in fitted.shots.values() for name in part]
    names = {*slices, *map(file_of, slices)}
    # A zero-shot fit lists shots below the name of their data set.
    for prefix in {f"{stem(data)}/", f"{stem(data.resolve())}/"}:
        names |= {name.removeprefix(prefix) for name in names}
    return names


def judge_on_test(data: Path, options: FitOptions) -> Callable[[Method], float]:
    """Return the rating by which published code chooses its epoch.

    The rating is the sum of image and pixel AUROC on the test set.

    Parameters
    ----------
    data : Path
        Data set with a test split.
    options : FitOptions
        Options of the fit; its protocol must be "paper".

    Raises
    ------
    UsageError
        If the protocol is not "paper", or there is no test split.
    """
    if options.protocol != "paper":
        raise UsageError("--select test chooses on the test set: it is only for --protocol paper")
    items = read_items(data, "test")
    plane = Plane(options.domain.plane) if options.domain.plane else None
    slices: list[LabelledSlice] = []
    uncalibrated = Calibration((), math.nan, options.target_fpr, True, 0.0, 1.0)

    def judge(method: Method) -> float:
        size = method.backbone.size
        if not slices:
            slices.extend(stream_slices(items, size=size, window=options.window, plane=plane))
        observed = observe(method, slices, published=True)
        patch = method.backbone.patch
        evaluation = figures(observed, uncalibrated, patch=patch, published=True, draws=0)
        pixel_auroc = evaluation.pixels.auroc.value if evaluation.pixels else 0.0
        return evaluation.slices.auroc.value + pixel_auroc

    return judge
