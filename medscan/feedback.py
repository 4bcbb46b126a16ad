"""A radiologist's verdicts on results become shots of a new detector."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medscan.archive import Pseudonyms
from medscan.detector import Ancestor, Detector
from medscan.errors import SourceError, UsageError
from medscan.fit import (
    FitOptions,
    Item,
    LabelledSlice,
    Progress,
    Slot,
    find_shots,
    labels_of,
    load_slot,
    refit_detector,
    renamed,
    unjudged,
)
from medscan.methods import Method
from medscan.reading import Sources
from medscan.report import Decisions, Row, Target, Verdict, rank, worst_slice
from medscan.results import Results, StackResult, State

_NAME = "results:{study}/{stack}#{slice}"
"""What a detector calls a shot that a verdict made."""
_NAMED = re.compile(r"results:([^/]+)/([^/]+)#([0-9]{1,7})", re.ASCII)
GREYS = 2.0
"""Mean difference from its thumbnail, of 255, from which on a picture is another one."""


@dataclass(frozen=True, slots=True)
class Pick:
    """A slice of results that is to be a shot.

    Parameters
    ----------
    row : Row
        Of its study.
    stack : StackResult
    at : int
        Its place in the stack's arrays.
    label : int
        1 abnormal.
    typical : bool
        Whether it was drawn, and not picked out by its score or by a person.
    """

    row: Row
    stack: StackResult
    at: int
    label: int
    typical: bool

    @property
    def name(self) -> str:
        """What the new detector calls it."""
        return _NAME.format(study=self.row.study.key, stack=self.stack.key, slice=self.at + 1)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a new detector is made of beside its parent.

    Parameters
    ----------
    decisions : Decisions
    results : sequence of Results
        That they are on.
    archives : sequence of Path
        Where the files of the results lie.
    keys : sequence of Pseudonyms or None
        That the results were written with.
    """

    decisions: Decisions
    results: Sequence[Results]
    archives: Sequence[Path]
    keys: Sequence[Pseudonyms | None]


@dataclass(frozen=True, slots=True)
class Learnt:
    """What became of the verdicts.

    Parameters
    ----------
    kept, lost : int
        Shots of the parent that were found again, and that were not.
    added : dict
        New shots, `normal` and `abnormal`.
    missed : int
        Studies called abnormal that were not flagged and of which no scored slice is named: no one
        can say where.
    unused : int
        Judged studies without a scored stack in the detector's domain.
    """

    kept: int
    lost: int
    added: Mapping[str, int]
    missed: int
    unused: int


def learn(
    parent: Detector,
    verdicts: Verdicts,
    data: Path | None,
    options: FitOptions,
    progress: Callable[[str], Progress] | None = None,
) -> tuple[Detector, Method, Learnt]:
    """Fit a detector on the shots of its parent that are there, and on what was judged.

    A study that is judged anew is known by the new verdicts alone, and so are its files where they
    are shots of the data set.

    Parameters
    ----------
    parent : Detector
    verdicts : Verdicts
    data : Path, optional
        What the parent was fitted on; then all its shots must be there. Without it, those are kept
        that earlier verdicts made and the results hold.
    options : FitOptions
        Of these only device, precision, folds and licence count.
    progress : callable, optional
        As in `medscan.fit.fit`.

    Returns
    -------
    (Detector, Method, Learnt)
        Not saved yet.

    Raises
    ------
    UsageError
        Patients cannot be told apart, a shot of the parent is not there, or there are too few.
    medscan.errors.DetectorError
        The backbone is another one.
    SourceError
        A file is not in the archives, or has changed since it was scanned.
    """
    _check_keys(verdicts.results)
    rows = {row.study.key: row for row in rank(verdicts.results)}
    chosen = choose(parent, verdicts.decisions, rows)
    if not chosen.picks:
        raise UsageError(f"no verdict gives {parent.name} a slice to learn from{_why(chosen)}")
    backbone = parent.load_backbone(device=options.device, precision=options.precision)
    parent.check(backbone)
    old = [] if data is None else find_shots(parent, data, backbone.size)
    again = list(_again(parent, verdicts.decisions, rows))
    names = {one.item.name for one in old} | {pick.name for pick in again}
    lost = [name for name in _owed(parent, verdicts.decisions) if name not in names]
    if data is not None and lost:
        raise UsageError(
            f"{data} and the results lack {len(lost)} shots of {parent.name}, such as {lost[0]}: "
            "name the data and the results that it was fitted on, or no data"
        )
    picks = [*again, *chosen.picks]
    slots = _slots(verdicts, picks)
    old, patients = unjudged(old, slots)
    slices = renamed([*old, *_drawn(parent, picks, slots, backbone.size)], patients)
    made, method = refit_detector(parent, backbone, slices, options, progress)
    told = _learnt(made, chosen, len(lost))
    lineage = (*parent.lineage, _ancestor(parent, verdicts, told))
    return replace(made, lineage=lineage), method, told


def _learnt(made: Detector, chosen: Chosen, lost: int) -> Learnt:
    new = {pick.name for pick in chosen.picks}
    added = {label: len(new.intersection(names)) for label, names in made.shots.items()}
    kept = len(labels_of(made)) - sum(added.values())
    return Learnt(kept, lost, added, chosen.missed, chosen.unused)


def _check_keys(results: Sequence[Results]) -> None:
    """Refuse results between which a patient's studies are not known to be of one patient."""
    keys = {file.key_fingerprint() for file in results}
    if len(keys) > 1:
        raise UsageError(
            "the results were made with different key files, so that no one can say which studies "
            "are of one patient: give those of one key file at a time"
        )


def _ancestor(parent: Detector, verdicts: Verdicts, told: Learnt) -> Ancestor:
    return Ancestor(
        name=parent.name,
        digest=parent.digest,
        licence=parent.licence,
        verdicts=verdicts.decisions.rows,
        decisions=verdicts.decisions.digest,
        results=tuple(sorted(file.run().created for file in verdicts.results)),
        kept=told.kept,
        added=sum(told.added.values()),
    )


# --- which slices --------------------------------------------------------------------------------


@dataclass(slots=True)
class Chosen:
    """The slices that verdicts make shots; `missed` and `unused` as in `Learnt`."""

    picks: list[Pick] = field(default_factory=list)
    missed: int = 0
    unused: int = 0


def choose(parent: Detector, decisions: Decisions, rows: Mapping[str, Row]) -> Chosen:
    """Slices to learn from: those that are named, and those that stand for whole stacks.

    Of a normal stack these are its worst slice and one that is drawn, of an abnormal study that was
    flagged the worst slice, unless its verdicts name an abnormal one.

    Parameters
    ----------
    parent : Detector
        Only stacks of its domain count.
    decisions : Decisions
    rows : mapping
        The studies that are judged, by key.
    """
    chosen = Chosen()
    for study, words in sorted(decisions.studies.items()):
        row = rows[study]
        stacks = _in_domain(row, parent)
        wholes = [*_normal(parent, row, stacks, words), *_suspect(row, stacks, words)]
        named = {
            (s.key, n - 1): (s, w)
            for s in stacks
            for (k, n), w in words.items()
            if k == s.key and n
        }
        found = {(p.stack.key, p.at): p for p in wholes if (p.stack.key, p.at) not in named}
        for (key, at), (stack, word) in named.items():
            if word is not Verdict.UNSURE and stack.state[at] == State.SCORED:
                found[key, at] = Pick(row, stack, at, int(word is Verdict.ABNORMAL), False)
        chosen.picks += [found[place] for place in sorted(found)]
        chosen.unused += not stacks
        missed = decisions.word(study) is Verdict.ABNORMAL and not any(
            p.label for p in found.values()
        )
        chosen.missed += missed and bool(stacks)
    return chosen


def _said(stack: StackResult, words: Mapping[Target, Verdict]) -> Verdict | None:
    """The verdict on a whole stack: its own, else that on the study."""
    return words.get((stack.key, 0), words.get(("", 0)))


def _normal(
    parent: Detector, row: Row, stacks: Sequence[StackResult], words: Mapping[Target, Verdict]
) -> Iterator[Pick]:
    for stack in (s for s in stacks if _said(s, words) is Verdict.NORMAL):
        yield Pick(row, stack, worst_slice(stack), 0, False)
        yield Pick(row, stack, _at_random(parent, row, stack), 0, True)


def _suspect(
    row: Row, stacks: Sequence[StackResult], words: Mapping[Target, Verdict]
) -> Iterator[Pick]:
    named = any(word is Verdict.ABNORMAL and number for (_, number), word in words.items())
    suspects = [s for s in stacks if _said(s, words) is Verdict.ABNORMAL and not named]
    worst = max(suspects, key=lambda s: s.score, default=None)
    if worst is not None and worst.flagged:
        yield Pick(row, worst, worst_slice(worst), 1, False)


def _in_domain(row: Row, parent: Detector) -> list[StackResult]:
    """Scored stacks whose detector was fitted for what the parent is."""
    domains = {d.get("hash"): d.get("domain") for d in row.results.run().detectors}
    wanted = str(parent.domain)
    return [
        stack
        for stack in row.study.stacks
        if not np.isnan(stack.score) and domains.get(stack.info["detector_hash"]) == wanted
    ]


def _at_random(parent: Detector, row: Row, stack: StackResult) -> int:
    """A scored slice whose choice depends on no score: the same one each time."""
    scored = np.flatnonzero(stack.state == State.SCORED)
    text = f"{parent.seed} {row.study.key} {stack.key}"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return int(scored[number % len(scored)])


def _owed(parent: Detector, decisions: Decisions) -> dict[str, int]:
    """Shots of the parent and their labels, but for those of studies that are judged anew."""
    parts = {name: _NAMED.fullmatch(name) for name in labels_of(parent)}
    return {
        name: label
        for name, label in labels_of(parent).items()
        if not ((part := parts[name]) and part[1] in decisions.studies)
    }


def _again(parent: Detector, decisions: Decisions, rows: Mapping[str, Row]) -> Iterator[Pick]:
    """The shots of the parent that earlier verdicts made, as far as the results hold them."""
    for name, label in _owed(parent, decisions).items():
        part = _NAMED.fullmatch(name)
        row = rows.get(part[1]) if part else None
        for stack in row.study.stacks if part and row else ():
            at = int(part[3]) - 1 if part else 0
            scored = 0 <= at < len(stack.state) and stack.state[at] == State.SCORED
            if part and row and stack.key == part[2] and scored:
                typical = label == 0 and at == _at_random(parent, row, stack)
                yield Pick(row, stack, at, label, typical)


def _why(chosen: Chosen) -> str:
    """Why verdicts give nothing, for the end of a sentence."""
    reasons = (
        (chosen.missed, "called abnormal, but neither flagged nor with a slice named"),
        (chosen.unused, "without a scored stack in its domain"),
    )
    found = [f"{count} studies are {why}" for count, why in reasons if count]
    return f": {'; '.join(found)}" if found else ""


# --- their pictures ------------------------------------------------------------------------------


def _slots(verdicts: Verdicts, picks: Sequence[Pick]) -> list[Slot]:
    """Where slices lie in the archives, in their order."""
    paths = {path for pick in picks for path in pick.stack.path}
    sources = Sources(verdicts.archives, verdicts.keys, paths)
    return [_slot(sources, pick) for pick in picks]


def _drawn(
    parent: Detector, picks: Sequence[Pick], slots: Sequence[Slot], size: int
) -> Iterator[LabelledSlice]:
    """Slices read from the archives as the scan read them, but for background, in their order."""
    for pick, slot in zip(picks, slots, strict=True):
        found = load_slot(slot, size=size, window=parent.window)
        if found is not None:
            _check_picture(pick, found, parent.window)
            yield found


def _slot(sources: Sources, pick: Pick) -> Slot:
    """Where a slice lies, and what is known of it."""
    study = pick.row.study
    try:
        stack = sources.stack(study, pick.stack)
    except SourceError as error:
        raise SourceError(f"study {study.key}, stack {pick.stack.key}: {error}") from error
    frame = stack.frames[pick.at]
    patient = f"results:{study.info.get('patient') or study.key}"
    item = Item(pick.name, frame.file.full, pick.label, patient, typical=pick.typical)
    return Slot(item, stack, frame, str(pick.stack.info["modality"]))


def _check_picture(pick: Pick, found: LabelledSlice, window: str) -> None:
    """Refuse a picture that is another one than the results hold of the slice, if they hold one."""
    study = pick.row.results.study(pick.row.study.key)
    stack = next(s for s in study.stacks if s.key == pick.stack.key)
    places = stack.thumbnail_index.tolist()
    windows = {d.get("hash"): d.get("window") for d in pick.row.results.run().detectors}
    alike = windows.get(stack.info["detector_hash"]) == window
    if pick.at not in places or stack.info["size"] != found.image.shape[1] or not alike:
        return
    kept = stack.thumbnail[places.index(pick.at)].astype(np.float32)
    if np.abs(found.image.transpose(1, 2, 0) * 255 - kept).mean() > GREYS:
        raise SourceError(
            f"study {study.key}, stack {stack.key}: its source has changed since it was scanned: "
            f"slice {pick.at + 1} shows something else"
        )
