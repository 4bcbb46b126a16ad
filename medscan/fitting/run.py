"""From labelled files and options to a fitted, calibrated detector."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from medscan import clip
from medscan.choices import Plane
from medscan.clip import Backbone
from medscan.detector import Detector, Domain
from medscan.donors import digests
from medscan.errors import UsageError
from medscan.fitting.calibrate import MEMBERS, calibrate, left_out, solve, summarise
from medscan.fitting.course import Course, Tell, plan
from medscan.fitting.doubts import doubts
from medscan.fitting.features import FeatureCache, cache_of_user
from medscan.fitting.gate import set_gate
from medscan.fitting.held import NO_STACKS, HeldOut, NormalStacks
from medscan.fitting.train import Prepared, prepare, remember, train
from medscan.gate import Gate
from medscan.methods import Method, Settings, build, check_serves, settings_of, system_of
from medscan.normals import Calibration
from medscan.shots import Item, Shots, draw_shots, load_items, merged_shots, read_items, stem

log = logging.getLogger("medscan.fit")

SHOTS = 16
"""Of each label, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What `medscan fit` is asked for; see medscan-fit(1).

    `size` is the side of the tower's input in pixels, a multiple of its patches, and `tiles` how
    many of it lie along a side of the square; None are those of `settings`. `shots` None is 16, or
    with `zero_shot` every labelled image. `source_organs` are the words of the data sets that
    `zero_shot` learns from; `organ` is the word of what will be scored.
    """

    shots: int | None = None
    method: str = "discriminant"
    protocol: str = "clean"
    backbone: str = clip.DEFAULT
    organ: str = "organ"
    zero_shot: bool = False
    source_organs: tuple[str, ...] = ()
    size: int | None = None
    tiles: int | None = None
    domain: Domain = field(default_factory=Domain)
    window: str = "auto"
    seed: int = 0
    folds: int = 4
    target_fpr: float = 0.05
    device: str = "cpu"
    precision: str = "fp32"
    licence: str = "unknown"
    settings: dict[str, Any] = field(default_factory=dict)


def fit(
    data: Path | Sequence[Path],
    options: FitOptions,
    progress: Tell | None = None,
    judge: Callable[[Method], float] | None = None,
) -> tuple[Detector, Method]:
    """Fit a detector on K normal and K abnormal shots of a data set.

    Parameters
    ----------
    data : Path or sequence of Path
        See `medscan.shots.data`. Several only with `zero_shot`; none for a method that needs none.
    options : FitOptions
    progress : Tell, optional
        Told of every step. A KeyboardInterrupt that it raises ends the fit with what was best so
        far, if anything was learnt.
    judge : callable, optional
        The epoch that it gives the highest value is kept, instead of the last. It is how published
        code chooses on the test set; the detector says so.

    Returns
    -------
    (Detector, Method)
        Not saved yet.

    Raises
    ------
    medscan.errors.UsageError
        The data or the options cannot be used.
    """
    folders = (data,) if isinstance(data, Path) else tuple(data)
    _check(folders, options)
    settings = chosen_settings(options)
    backbone = load_backbone(options, settings)
    items = [] if not folders or options.zero_shot else _items(folders[0], options)
    shots = _shots(folders, items, options, backbone.size)
    check_tiles(shots, backbone)
    stacks = _stacks(items, shots, options)
    return fit_shots(shots, backbone, options, settings, progress, judge, stacks)


def chosen_settings(options: FitOptions) -> Settings:
    """Settings of the method that is to be fitted."""
    asked = {"size": options.size, "tiles": options.tiles}
    changes = options.settings | {n: value for n, value in asked.items() if value is not None}
    return settings_of(options.method, options.protocol, options.zero_shot, **changes)


def load_backbone(options: FitOptions, settings: Settings) -> Backbone:
    """Load the backbone that a method is fitted on, as its settings ask for it.

    Raises
    ------
    medscan.errors.UsageError
        `options.size` is no multiple of its patches, or the method needs what it lacks.
    """
    backbone = clip.load(
        options.backbone,
        device=options.device,
        precision=options.precision,
        size=settings.size,
        quick_gelu=settings.quick_gelu,
        text_quick_gelu=settings.text_quick_gelu,
        tiles=settings.tiles,
    )
    # Here, not only when the method is built: shots take minutes to draw.
    check_serves(backbone, options.method, settings)
    patch, size = backbone.patch, backbone.tile
    if options.size is not None and size % patch:
        near = size // patch * patch
        raise UsageError(
            f"--size {size}: is no multiple of the {patch} pixels of a patch of {backbone.name}; "
            f"choose {near} or {near + patch}"
        )
    return backbone


def check_tiles(shots: Shots | None, backbone: Backbone) -> None:
    """Refuse tiles of images that a backbone sees whole without them.

    Raises
    ------
    medscan.errors.UsageError
    """
    if backbone.tiling is not None and shots is not None and shots.longest <= backbone.tile:
        raise UsageError(
            f"--tiles {backbone.tiling.count}: no image has more than {shots.longest} pixels along "
            f"a side, and one tile shows {backbone.tile}; leave it out, or choose a smaller --size"
        )


def fit_shots(
    shots: Shots | None,
    backbone: Backbone,
    options: FitOptions,
    settings: Settings,
    progress: Tell | None = None,
    judge: Callable[[Method], float] | None = None,
    stacks: NormalStacks = NO_STACKS,
) -> tuple[Detector, Method]:
    """`fit` on shots, a backbone and settings that are there already; without shots, on nothing.

    Whole normal stacks, where given, are what thresholds of stacks are calibrated on.
    """
    for doubt in doubts(options):
        log.warning("%s", doubt)
    masked = shots is not None and shots.masks is not None
    words = (options.organ, *options.source_organs)

    def fresh() -> Method:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            method = build(options.method, backbone, words, settings, masked=masked)
        return method.to(backbone.device)

    method, calibration, gate = _fitted(shots, stacks, fresh, options, progress, judge)
    judged = bool(judge and settings.epochs)
    made = _detector(method, shots, stacks, calibration, gate, options, judged=judged)
    return made, method


def check_options(options: FitOptions) -> None:
    """Refuse numbers that no fit can do with.

    Raises
    ------
    medscan.errors.UsageError
    """
    if options.shots is not None and options.shots < 1:
        raise UsageError("--shots must be at least 1")
    if not 0 < options.target_fpr < 1:
        raise UsageError("--target-fpr must lie between 0 and 1")
    if options.folds < 0 or options.folds == 1:
        raise UsageError(f"--folds {options.folds}: choose 2 or more, or 0 not to calibrate")


def _check(folders: tuple[Path, ...], options: FitOptions) -> None:
    check_options(options)
    needed = system_of(options.method).method.learns_from
    if not folders and (needed or options.zero_shot):
        raise UsageError(f"method {options.method} needs labelled images: name their folder")
    if len(folders) > 1 and not options.zero_shot:
        raise UsageError("several data sets are only for --zero-shot; name one, or add --zero-shot")
    if options.zero_shot and len(options.source_organs) != len(folders):
        raise UsageError(
            f"--zero-shot needs one --source-organ for each data set, in their order: "
            f"{len(folders)}, not {len(options.source_organs)}"
        )
    if options.source_organs and not options.zero_shot:
        raise UsageError("--source-organ is only for --zero-shot; --organ names what is shown")


def _shots(
    folders: tuple[Path, ...], items: list[Item], options: FitOptions, size: int
) -> Shots | None:
    """What is learnt from, or only calibrated on; None without data."""
    if not folders:
        return None
    if not options.zero_shot:
        return _drawn(items, options, size, options.shots or SHOTS)
    parts = [
        (stem(folder.resolve()), _drawn(_items(folder, options), options, size, options.shots))
        for folder in folders
    ]
    return merged_shots(parts)


def _stacks(items: list[Item], shots: Shots | None, options: FitOptions) -> NormalStacks:
    if not items or shots is None or not options.folds:
        return NO_STACKS
    fpr, window, plane = options.target_fpr, options.window, options.domain.plane
    return NormalStacks.of(items, shots, target_fpr=fpr, window=window, plane=plane)


def _items(folder: Path, options: FitOptions) -> list[Item]:
    published = options.protocol == "paper"
    # The published zero-shot training uses the other data sets' test splits.
    split = "test" if published and options.zero_shot else "train"
    return read_items(folder, split, divides=published)


def _drawn(items: list[Item], options: FitOptions, size: int, shots: int | None) -> Shots:
    """`shots` of each label that the method learns from; None is every slice."""
    plane = Plane(options.domain.plane) if options.domain.plane else None
    if shots is None:
        return load_items(items, size=size, window=options.window, plane=plane)
    # A method that learns nothing gets normals to be calibrated on.
    labels = system_of(options.method).method.learns_from or (0,)
    return draw_shots(
        items, shots, options.seed, size=size, window=options.window, plane=plane, labels=labels
    )


def _fitted(
    shots: Shots | None,
    stacks: NormalStacks,
    fresh: Callable[[], Method],
    options: FitOptions,
    progress: Tell | None,
    judge: Callable[[Method], float] | None,
) -> tuple[Method, Calibration, Gate | None]:
    """A trained method, where unseen normals score, and how far its shots reach."""
    method = fresh()
    if shots is None:
        return method.eval(), summarise(HeldOut(), options.target_fpr), None
    method.look(shots.images)
    cache = cache_of_user()
    course = _course(shots, stacks, fresh, options, cache, progress)
    stacks = replace(stacks, told=course.stack)
    data = prepare(method, shots, options.seed, cache, course.prepared)
    if method.at_once:
        calibration = solve(
            method,
            data,
            folds=options.folds,
            target_fpr=options.target_fpr,
            seed=options.seed,
            stacks=stacks,
            solved=course.solved,
        )
        return method, calibration, _gate(method, data, options)
    whole = train(method, data, options.seed, course.training(0), judge)
    if not whole:
        log.warning("interrupted: the best epoch so far is kept, without calibration")
    remember(method, data)
    folds = _folds(options) if whole else 0
    calibration = calibrate(
        fresh,
        data,
        folds=folds,
        target_fpr=options.target_fpr,
        seed=options.seed,
        progress=course.training,
        final=method,
        stacks=stacks,
    )
    return method, calibration, _gate(method, data, options)


def _gate(method: Method, data: Prepared, options: FitOptions) -> Gate | None:
    if not _folds(options):
        return None
    return set_gate(method, data.tokens[:, 0], data.shots, options.seed)


def _folds(options: FitOptions) -> int:
    """Folds to calibrate by; normals of other data sets do not tell where the target's score."""
    return 0 if options.zero_shot else options.folds


def _course(
    shots: Shots,
    stacks: NormalStacks,
    fresh: Callable[[], Method],
    options: FitOptions,
    cache: FeatureCache,
    progress: Tell | None,
) -> Course:
    """What is to be done, and how long it will take."""
    if progress is None:
        return Course(None)
    trial = fresh()
    trial.look(shots.images)
    folds = options.folds or MEMBERS if trial.at_once else _folds(options)
    parts = left_out(shots, trial.learns_from, folds, options.seed)
    images = [int((~part).sum()) for part in parts]
    # A method that is fitted at once is the mean of its folds' models.
    trainings = images if trial.at_once and images else [len(shots), *images]
    counts = stacks.counts if images else ()
    return plan(progress, trial, shots, options.seed, cache, trainings, counts)


def _detector(
    method: Method,
    shots: Shots | None,
    stacks: NormalStacks,
    calibration: Calibration,
    gate: Gate | None,
    options: FitOptions,
    *,
    judged: bool,
) -> Detector:
    names: dict[str, list[str]] = {"normal": [], "abnormal": []}
    for name, label in zip(shots.names, shots.labels.tolist(), strict=True) if shots else ():
        names["abnormal" if label else "normal"].append(name)
    files = shots.files | stacks.files if shots else ()
    fingerprints = tuple(sorted(map(fingerprint, files)))
    return Detector(
        name="",
        method=options.method,
        protocol=options.protocol,
        organ=options.organ,
        masked=method.masked,
        settings=_recorded(method.settings),
        backbone=options.backbone,
        backbone_digest=method.backbone.digest,
        backbone_licence=method.backbone.licence,
        domain=options.domain,
        window=options.window,
        calibration=calibration,
        gate=gate,
        shots=names,
        fingerprints=fingerprints,
        donors=digests(shots.identities | stacks.identities, fingerprints) if shots else None,
        selection="test" if judged else "last",
        seed=options.seed,
        licence=options.licence,
        versions=_versions(),
    )


def _recorded(settings: Settings) -> dict[str, Any]:
    """The settings; older versions of medscan read those of a detector without tiles."""
    found = asdict(settings)
    return {n: value for n, value in found.items() if n != "tiles" or value > 1}


def fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    names = ("medscan", "torch", "open_clip_torch", "numpy")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "source"
    return found
