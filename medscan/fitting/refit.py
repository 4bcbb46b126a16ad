"""Fitting once more: a detector's own shots found again, and further ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medscan.choices import Plane
from medscan.clip import Backbone
from medscan.detector import Detector
from medscan.errors import UsageError
from medscan.fitting.course import Tell
from medscan.fitting.run import FitOptions, fingerprint, fit_shots
from medscan.methods import Method, settings_of, system_of
from medscan.shots import LabelledSlice, Slot, named_slices, read_items, stacked


def labels_of(parent: Detector) -> dict[str, int]:
    """Label of every shot of a detector, by name, normal ones first."""
    words = {"normal": 0, "abnormal": 1}
    return {name: label for word, label in words.items() for name in parent.shots.get(word, ())}


def find_shots(parent: Detector, data: Path, size: int) -> list[LabelledSlice]:
    """The shots of a detector that its data set holds, in their order.

    Parameters
    ----------
    parent : Detector
    data : Path
        As it was given to the fit.
    size : int
        Side of the model's square, pixels.

    Raises
    ------
    UsageError
        One has another label by now, or its file has changed.
    """
    labels = labels_of(parent)
    plane = Plane(parent.domain.plane) if parent.domain.plane else None
    found = named_slices(read_items(data), labels, size=size, window=parent.window, plane=plane)
    slices = {one.item.name: one for one in found}
    for name, one in slices.items():
        changed = parent.fingerprints and fingerprint(one.item.path) not in parent.fingerprints
        if changed or one.item.label != labels[name]:
            what = "its file has changed" if changed else "it has another label"
            raise UsageError(f"{data}: {name} is no longer the shot of {parent.name}: {what}")
    return [slices[name] for name in labels if name in slices]


def unjudged(
    shots: Sequence[LabelledSlice], judged: Sequence[Slot]
) -> tuple[list[LabelledSlice], dict[str, str]]:
    """Shots of a data set without those that lie in stacks which are judged, as files tell.

    Returns
    -------
    list of LabelledSlice
        The others.
    dict
        For patients of both that share such a file, the name that stands for all that are one.
    """
    sizes = {one.item.path.stat().st_size for one in shots}
    files = {
        frame.file.full: slot.item.patient for slot in judged for frame in slot.source.stack.frames
    }
    known = {fingerprint(p): patient for p, patient in files.items() if p.stat().st_size in sizes}
    found = [(one, known.get(fingerprint(one.item.path))) for one in shots]
    same = [(one.item.patient, patient) for one, patient in found if patient is not None]
    return [one for one, patient in found if patient is None], _merged(same)


def _merged(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """One name for all that pairs say, also in a row, to be one."""
    groups: list[set[str]] = []
    for pair in pairs:
        touched = [group for group in groups if not group.isdisjoint(pair)]
        groups = [group for group in groups if group not in touched] + [set(pair).union(*touched)]
    return {name: min(group) for group in groups for name in group}


def renamed(shots: Iterable[LabelledSlice], names: Mapping[str, str]) -> list[LabelledSlice]:
    """Shots with the names of patients that `unjudged` gives."""
    return [
        replace(one, item=replace(one.item, patient=names.get(one.item.patient, one.item.patient)))
        for one in shots
    ]


def refit_detector(
    parent: Detector,
    backbone: Backbone,
    slices: Sequence[LabelledSlice],
    options: FitOptions,
    progress: Tell | None = None,
) -> tuple[Detector, Method]:
    """Fit a detector as another one was fitted, on these slices.

    Parameters
    ----------
    parent : Detector
        Whose method, protocol, settings, organ, domain, window, seed and rate are taken.
    backbone : Backbone
        That it was fitted on.
    slices : sequence of LabelledSlice
        Those of a label that the method does not learn from are left out.
    options : FitOptions
        Of these only device, precision, folds and licence count.

    Returns
    -------
    (Detector, Method)
        Not saved yet.

    Raises
    ------
    UsageError
        There is no slice of a label that the method learns from.
    """
    labels = system_of(parent.method).method.learns_from or (0,)
    used = [one for one in slices if one.item.label in labels]
    for label in labels:
        if not any(one.item.label == label for one in used):
            word = ("normal", "abnormal")[label]
            raise UsageError(
                f"there is no {word} slice for method {parent.method} to learn from: judge more "
                f"studies, or name the data that {parent.name} was fitted on"
            )
    inherited = FitOptions(
        method=parent.method,
        protocol=parent.protocol,
        backbone=parent.backbone,
        organ=parent.organ,
        domain=parent.domain,
        window=parent.window,
        seed=parent.seed,
        target_fpr=parent.calibration.target_fpr,
        folds=options.folds,
        device=options.device,
        precision=options.precision,
        licence=options.licence,
    )
    settings = settings_of(parent.method, **parent.settings)
    return fit_shots(stacked(used), backbone, inherited, settings, progress)
