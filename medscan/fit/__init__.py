"""A few labelled images -> a detector."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from medscan import clip
from medscan.archive import Plane
from medscan.detector import Detector, Domain
from medscan.errors import UsageError
from medscan.fit.calibrate import calibrate
from medscan.fit.data import Item, read_items
from medscan.fit.shots import Shots, draw_shots, load_items
from medscan.fit.train import Progress, prepare, remember, scores, train
from medscan.methods import Method, build, settings_of, system_of


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What `medscan fit` is asked for; see medscan-fit(1)."""

    shots: int = 16
    method: str = "mvfa"
    protocol: str = "clean"
    backbone: str = clip.DEFAULT
    organ: str = "organ"
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
    data: Path,
    options: FitOptions,
    progress: Callable[[str], Progress] | None = None,
) -> tuple[Detector, Method]:
    """Fit a detector on K normal and K abnormal shots of a data set.

    Parameters
    ----------
    data : Path
        See `medscan.fit.data`.
    options : FitOptions
    progress : callable, optional
        Given the name of a stage, returns what is told of its epochs.

    Returns
    -------
    (Detector, Method)
        Not saved yet.

    Raises
    ------
    medscan.errors.UsageError
        The data or the options cannot be used.
    """
    if options.shots < 1:
        raise UsageError("--shots must be at least 1")
    if not 0 < options.target_fpr < 1:
        raise UsageError("--target-fpr must lie between 0 and 1")
    settings = settings_of(options.method, options.protocol, **options.settings)
    items = read_items(data)
    backbone = clip.load(
        options.backbone,
        device=options.device,
        precision=options.precision,
        size=settings.size,
        quick_gelu=settings.quick_gelu,
        text_quick_gelu=settings.text_quick_gelu,
    )
    shots = draw_shots(
        items,
        options.shots,
        options.seed,
        size=backbone.size,
        window=options.window,
        plane=Plane(options.domain.plane) if options.domain.plane else None,
        labels=system_of(options.method).method.learns_from,
    )
    return _fit_shots(shots, backbone, settings, options, progress)


def _fit_shots(
    shots: Shots,
    backbone: clip.Backbone,
    settings: Any,
    options: FitOptions,
    progress: Callable[[str], Progress] | None,
) -> tuple[Detector, Method]:
    def fresh() -> Method:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            masked = shots.masks is not None
            method = build(options.method, backbone, options.organ, settings, masked=masked)
        return method.to(backbone.device)

    method = fresh()
    data = prepare(method, shots, options.seed)
    whole = train(method, data, options.seed, progress("fitting") if progress else None)
    remember(method, data)
    calibration = calibrate(
        fresh,
        data,
        folds=options.folds if whole else 0,
        target_fpr=options.target_fpr,
        seed=options.seed,
        progress=progress("calibrating") if progress else None,
    )
    normal = [n for n, y in zip(shots.names, shots.labels.tolist(), strict=True) if y == 0]
    abnormal = [n for n, y in zip(shots.names, shots.labels.tolist(), strict=True) if y == 1]
    detector = Detector(
        name="",
        method=options.method,
        protocol=options.protocol,
        organ=options.organ,
        masked=shots.masks is not None,
        settings=asdict(settings),
        backbone=options.backbone,
        backbone_digest=backbone.digest,
        domain=options.domain,
        window=options.window,
        calibration=calibration,
        shots={"normal": normal, "abnormal": abnormal},
        seed=options.seed,
        licence=options.licence,
        versions=_versions(),
    )
    return detector, method


def _versions() -> dict[str, str]:
    names = ("medscan", "torch", "open_clip_torch", "numpy")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "source"
    return found


__all__ = ["FitOptions", "Item", "Shots", "fit", "load_items", "read_items", "scores"]
