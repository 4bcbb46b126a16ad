"""From an archive and labels of its studies to a fitted, calibrated detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from medscan import archive, imaging
from medscan.archive import Pseudonyms
from medscan.bags.choose import MOST, Reader, Watcher
from medscan.bags.domain import settle
from medscan.bags.draw import whole_stacks_of
from medscan.bags.labels import read_labels
from medscan.bags.match import Bag, match
from medscan.choices import Plane
from medscan.detector import Detector
from medscan.errors import UsageError
from medscan.fitting import (
    NO_STACKS,
    FitOptions,
    NormalStacks,
    Tell,
    check_options,
    check_tiles,
    chosen_settings,
    fit_shots,
    load_backbone,
)
from medscan.methods import Method, system_of
from medscan.shots import LabelledSlice, Shots, by_patient, judge_copy, stacked

TAKEN = {True: 4, False: 2}
"""Slices of a study that a method in closed form is fitted on, and one that is trained."""
STUDIES = MOST // TAKEN[True]
"""Studies of each label that are fitted on at most, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """Which studies of an archive are labelled, and how.

    Parameters
    ----------
    roots : sequence of Path
        Folders or files of the archive.
    labels : Path
        The table, see `medscan.bags.labels`.
    normal, abnormal : sequence of str
        Further values of the column `label`.
    """

    roots: Sequence[Path]
    labels: Path
    normal: Sequence[str] = ()
    abnormal: Sequence[str] = ()


def studies_of(
    data: Sequence[Path],
    archive: Sequence[Path],
    labels: Path | None,
    normal: Sequence[str],
    abnormal: Sequence[str],
) -> StudyOptions | None:
    """Return which studies to fit on; None for labelled images.

    Raises
    ------
    medscan.errors.UsageError
        If the options of `medscan fit` contradict each other.
    """
    if labels is None:
        if archive or normal or abnormal:
            raise UsageError("--archive, --normal and --abnormal are about studies: add --labels")
        return None
    if data or not archive:
        raise UsageError("--labels is about studies of an archive: give --archive and no data")
    return StudyOptions(archive, labels, normal, abnormal)


def fit_studies(
    studies: StudyOptions,
    options: FitOptions,
    progress: Tell | None = None,
    watcher: Watcher | None = None,
) -> tuple[Detector, Method]:
    """Fit a detector on K normal and K abnormal studies, of which no slice need be labelled.

    Parameters
    ----------
    studies : StudyOptions
    options : FitOptions
        `shots` counts studies, and None is as many as there are, up to `STUDIES` of each label;
        what `domain` leaves empty is read from the headers.
    progress : Tell, optional
        As in `medscan.fitting.fit`.
    watcher : Watcher, optional

    Returns
    -------
    (Detector, Method)
        Not saved yet. Its shots are slices under names that tell nobody whose they are.

    Raises
    ------
    medscan.errors.UsageError
        The table, the archive or the options cannot be used.
    """
    watcher = watcher or Watcher()
    _check(options)
    settings = chosen_settings(options)
    learnt = system_of(options.method).method.learns_from or (0,)
    labels = read_labels(studies.labels, studies.normal, studies.abnormal).for_fitting()
    plane = Plane(options.domain.plane) if options.domain.plane else None
    # Identities stay in this process: the table may name studies and patients by them.
    plain = Pseudonyms(b"", identify=True)
    catalogue = archive.index(
        studies.roots, plane=plane, progress=watcher.indexed, pseudonyms=plain, judge=judge_copy
    )
    matched = match(labels, catalogue)
    wanted = [bag for bag in matched.bags if bag.label in learnt]
    domain, fitting = settle(wanted, options.domain)
    bags = sorted(fitting, key=lambda bag: bag.key)
    notes = [*labels.notes(), *matched.notes()]
    if lost := len(wanted) - len(bags):
        notes.append(f"{lost} studies without an image of {domain}")
    watcher.tell(f"fitting on {domain}, window {options.window}")
    if notes:
        watcher.tell(f"left out: {'; '.join(notes)}")
    _check_slices(studies.labels, bags)
    drawn = _drawn(bags, learnt, options)
    if options.shots is None:
        watcher.tell(_all_told(bags, drawn, learnt))
    backbone = load_backbone(options, settings)
    reader = Reader(drawn, backbone.size, options, watcher)
    slices = reader.shots(backbone, TAKEN[settings.epochs == 0])
    watcher.tell(reader.told())
    shots = stacked(slices)
    check_tiles(shots, backbone)
    stacks = _normal_stacks(bags, slices, shots, reader, options)
    options = replace(options, domain=domain)
    return fit_shots(shots, backbone, options, settings, progress, stacks=stacks)


def _normal_stacks(
    bags: Sequence[Bag],
    slices: Sequence[LabelledSlice],
    shots: Shots,
    reader: Reader,
    options: FitOptions,
) -> NormalStacks:
    """Whole normal stacks to calibrate on, also of studies that give no shots."""
    found = [stack for bag in bags if not bag.label for stack in whole_stacks_of(bag)]
    if not options.folds or not found:
        return NO_STACKS
    pairs = zip(slices, shots.patients.tolist(), strict=True)
    numbers = {one.item.patient: number for one, number in pairs}
    fpr, window = options.target_fpr, options.window
    return NormalStacks.chosen(
        found, numbers, shots, target_fpr=fpr, window=window, skip=reader.skip
    )


def _check(options: FitOptions) -> None:
    check_options(options)
    imaging.parse_rule(options.window)
    if options.zero_shot or options.source_organs:
        raise UsageError("--zero-shot and --source-organ are not for --labels")


def _check_slices(path: Path, bags: Sequence[Bag]) -> None:
    """Refuse slices that are named of several stacks, or that a stack does not have."""
    for bag in (bag for bag in bags if bag.slices):
        where, frames = f"{path} line {bag.row.line}", len(bag.places[0].stack.frames)
        if len(bag.places) > 1:
            raise UsageError(
                f"{where}: its study has {len(bag.places)} stacks that could be meant: name the "
                "series of the slice"
            )
        if max(bag.slices) > frames:
            raise UsageError(f"{where}: there is no slice {max(bag.slices)}, but {frames} slices")


def _drawn(bags: Sequence[Bag], labels: Sequence[int], options: FitOptions) -> list[Bag]:
    """K bags of each label, normal ones first, of as many patients as possible.

    Without a K, those that there are, up to `STUDIES` of each label.
    """
    least, count = (1, STUDIES) if options.shots is None else (options.shots, options.shots)
    found: list[Bag] = []
    for label in labels:
        word = ("normal", "abnormal")[label]
        mine = [bag for bag in bags if bag.label == label]
        if len(mine) < least:
            smaller = "" if options.shots is None else ", or give a smaller --shots"
            raise UsageError(
                f"{least} {word} studies were asked for, but there are {len(mine)}; label "
                f"more{smaller}"
            )
        found += islice(by_patient(mine, options.seed + label), count)
    return found


def _all_told(bags: Sequence[Bag], drawn: Sequence[Bag], labels: Sequence[int]) -> str:
    """How many studies there are of each label, and how many are fitted on."""
    parts = []
    for label in labels:
        there, used = (sum(bag.label == label for bag in some) for some in (bags, drawn))
        of = f"all {there}" if used == there else f"{used} of {there}"
        parts.append(f"{of} {('normal', 'abnormal')[label]} studies")
    return f"without --shots: {' and '.join(parts)}"
