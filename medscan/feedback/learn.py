"""Turn a radiologist's verdicts on results into shots of a new detector."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medscan.archive import Pseudonyms
from medscan.detector import Detector
from medscan.errors import UsageError
from medscan.feedback.picks import Pick, load_picks, locate_picks
from medscan.fitting import (
    FitOptions,
    Tell,
    check_options,
    find_shots,
    labels_of,
    refit_detector,
    renamed,
    unjudged,
)
from medscan.history import Ancestor
from medscan.methods import Method
from medscan.report import (
    WHOLE_STUDY,
    Decisions,
    JudgedPart,
    Row,
    Verdict,
    rank,
    worst_slice,
)
from medscan.results import Results, StackResult, State

_OF_VERDICT, _OF_STUDY = "results", "study"
_PARSED_NAME = re.compile(
    rf"(?P<origin>{_OF_VERDICT}|{_OF_STUDY}):(?P<study>[^/]+)/(?P<stack>[^/]+)#(?P<slice>[0-9]{{1,7}})",
    re.ASCII,
)
"""Name of a shot that a verdict gave, or the label of a whole study."""


@dataclass(frozen=True, slots=True)
class JudgedResults:
    """Results, verdicts on them, and the archives that hold their files.

    Parameters
    ----------
    decisions : Decisions
        The verdicts.
    results : sequence of Results
    archives : sequence of Path
        Folders that were scanned.
    keys : sequence of Pseudonyms or None
        Keys that the results were written with.
    """

    decisions: Decisions
    results: Sequence[Results]
    archives: Sequence[Path]
    keys: Sequence[Pseudonyms | None]


@dataclass(frozen=True, slots=True)
class RefitSummary:
    """Numbers of shots that a refit kept and added, and of studies that it could not use.

    Parameters
    ----------
    kept, lost : int
        Shots of the parent that were available, and that were not.
    added : dict
        New shots, `normal` and `abnormal`.
    missed : int
        Studies judged abnormal that were not flagged and for which no scored slice is named: the
        lesion could be on any slice.
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
    judged: JudgedResults,
    data: Path | None,
    options: FitOptions,
    progress: Tell | None = None,
) -> tuple[Detector, Method, RefitSummary]:
    """Fit a detector on the shots of its parent that are available, and on judged slices.

    For a study that is judged again only the new verdicts count: shots that earlier verdicts made
    of it are dropped, and so are its files among the shots of the data set.

    Parameters
    ----------
    parent : Detector
    judged : JudgedResults
    data : Path, optional
        Data set that the parent was fitted on; with it, all shots of the parent must be available.
        Without it, only shots made from earlier verdicts and from labels of studies are kept, if
        the results hold them.
    options : FitOptions
        Only device, precision, folds and licence are used.
    progress : callable, optional
        As in `medscan.fitting.fit`.

    Returns
    -------
    (Detector, Method, RefitSummary)
        Not saved yet.

    Raises
    ------
    UsageError
        If the results cannot tell patients apart, a shot of the parent is missing, or there are
        too few shots.
    medscan.errors.DetectorError
        If the backbone is not that of the parent.
    SourceError
        If a file is not in the archives, or has changed since it was scanned.
    """
    check_options(options)
    _check_keys(judged.results)
    rows = {row.study.key: row for row in rank(judged.results)}
    choice = choose(parent, judged.decisions, rows)
    if not choice.picks:
        raise UsageError(f"no verdict gives {parent.name} a slice to learn from{_why(choice)}")
    backbone = parent.load_backbone(device=options.device, precision=options.precision)
    parent.check_backbone(backbone)
    from_data = [] if data is None else find_shots(parent, data, backbone.size)
    earlier = list(_earlier_picks(parent, judged.decisions, rows))
    available = {shot.item.name for shot in from_data} | {pick.name for pick in earlier}
    lost = [n for n in _labels_to_keep(parent, judged.decisions) if n not in available]
    if data is not None and lost:
        raise UsageError(
            f"{data} and the results lack {len(lost)} shots of {parent.name}, such as {lost[0]}: "
            "name the data and the results that it was fitted on, or no data"
        )
    picks = [*earlier, *choice.picks]
    slots = locate_picks(judged.archives, judged.keys, picks)
    from_data, patients = unjudged(from_data, slots)
    from_results = load_picks(parent, picks, slots, backbone.size)
    slices = renamed([*from_data, *from_results], patients)
    detector, method = refit_detector(parent, backbone, slices, options, progress)
    summary = _summarise(detector, choice, len(lost))
    lineage = (*parent.lineage, _ancestor(parent, judged, summary))
    return replace(detector, lineage=lineage), method, summary


def _summarise(detector: Detector, choice: Choice, lost: int) -> RefitSummary:
    new = {pick.name for pick in choice.picks}
    added = {label: len(new.intersection(names)) for label, names in detector.shots.items()}
    kept = len(labels_of(detector)) - sum(added.values())
    return RefitSummary(kept, lost, added, choice.missed, choice.unused)


def _check_keys(results: Sequence[Results]) -> None:
    """Refuse results of several keys: one patient would count as several."""
    keys = {file.key_fingerprint() for file in results}
    if len(keys) > 1:
        raise UsageError(
            "the results were made with different key files, so that studies of one patient cannot "
            "be recognised: give the results of one key file at a time"
        )


def _ancestor(parent: Detector, judged: JudgedResults, summary: RefitSummary) -> Ancestor:
    return Ancestor(
        name=parent.name,
        digest=parent.digest,
        licence=parent.licence,
        verdicts=judged.decisions.rows,
        decisions=judged.decisions.digest,
        results=tuple(sorted(file.run().created for file in judged.results)),
        kept=summary.kept,
        added=sum(summary.added.values()),
    )


# --- choosing slices -----------------------------------------------------------------------------


@dataclass(slots=True)
class Choice:
    """Slices chosen as shots; `missed` and `unused` as in `RefitSummary`."""

    picks: list[Pick] = field(default_factory=list)
    missed: int = 0
    unused: int = 0


def choose(parent: Detector, decisions: Decisions, rows: Mapping[str, Row]) -> Choice:
    """Choose slices to learn from: slices with a verdict, and examples of whole stacks with one.

    A normal stack gives its worst slice and a random one. A flagged study that is abnormal gives
    its worst slice, unless its verdicts name an abnormal one.

    Parameters
    ----------
    parent : Detector
        Only stacks of its domain count.
    decisions : Decisions
    rows : mapping
        The judged studies by key.
    """
    choice = Choice()
    for study, verdicts in sorted(decisions.studies.items()):
        row = rows[study]
        stacks = _in_domain(row, parent)
        picks = _picks_of(parent, row, stacks, verdicts)
        choice.picks += picks
        choice.unused += not stacks
        abnormal = decisions.verdict(study) is Verdict.ABNORMAL
        choice.missed += abnormal and bool(stacks) and not any(pick.label for pick in picks)
    return choice


def _picks_of(
    parent: Detector,
    row: Row,
    stacks: Sequence[StackResult],
    verdicts: Mapping[JudgedPart, Verdict],
) -> list[Pick]:
    """The picks of a study in order; a slice's own verdict overrides that on its stack."""
    examples = [
        *_normal_examples(parent, row, stacks, verdicts),
        *_abnormal_example(row, stacks, verdicts),
    ]
    picks = {(pick.stack.key, pick.slice_index): pick for pick in examples}
    for stack in stacks:
        for part, verdict in verdicts.items():
            if part.stack == stack.key and part.number:
                index = part.number - 1
                picks.pop((stack.key, index), None)
                if verdict is not Verdict.UNSURE and stack.state[index] == State.SCORED:
                    label = int(verdict is Verdict.ABNORMAL)
                    picks[stack.key, index] = Pick(row, stack, index, label, False)
    return [picks[key] for key in sorted(picks)]


def _verdict_on(stack: StackResult, verdicts: Mapping[JudgedPart, Verdict]) -> Verdict | None:
    """The verdict on a whole stack: its own, else that on the study."""
    return verdicts.get(JudgedPart(stack.key, 0), verdicts.get(WHOLE_STUDY))


def _normal_examples(
    parent: Detector,
    row: Row,
    stacks: Sequence[StackResult],
    verdicts: Mapping[JudgedPart, Verdict],
) -> Iterator[Pick]:
    for stack in (s for s in stacks if _verdict_on(s, verdicts) is Verdict.NORMAL):
        yield Pick(row, stack, worst_slice(stack), 0, False)
        yield Pick(row, stack, _random_slice(parent, row, stack), 0, True)


def _abnormal_example(
    row: Row, stacks: Sequence[StackResult], verdicts: Mapping[JudgedPart, Verdict]
) -> Iterator[Pick]:
    named = any(v is Verdict.ABNORMAL and part.number for part, v in verdicts.items())
    suspects = [s for s in stacks if _verdict_on(s, verdicts) is Verdict.ABNORMAL and not named]
    worst = max(suspects, key=lambda s: s.score, default=None)
    # The detector missed the lesion of a study that is not flagged: its worst slice may be normal.
    if worst is not None and worst.flagged:
        yield Pick(row, worst, worst_slice(worst), 1, False)


def _in_domain(row: Row, parent: Detector) -> list[StackResult]:
    """Scored stacks of a study whose detector has the domain of the parent.

    Of several results of one stack, that of the parent counts, else the newest.
    """
    domains = {d.get("hash"): d.get("domain") for d in row.results.run().detectors}
    domain = str(parent.domain)
    fitting = [
        stack
        for stack in row.study.stacks
        if not np.isnan(stack.score) and domains.get(stack.info["detector_hash"]) == domain
    ]
    fitting.sort(key=lambda s: (s.info["detector_hash"] == parent.digest, _scanned(s)))
    chosen = {stack.source_key: stack for stack in fitting}
    return sorted(chosen.values(), key=lambda stack: stack.key)


def _scanned(stack: StackResult) -> str:
    return str(stack.info.get("scanned") or "")


def _random_slice(parent: Detector, row: Row, stack: StackResult) -> int:
    """Index of a random scored slice: the same one each time, whatever the scores."""
    scored = np.flatnonzero(stack.state == State.SCORED)
    text = f"{parent.seed} {row.study.key} {stack.key}"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return int(scored[number % len(scored)])


def _labels_to_keep(parent: Detector, decisions: Decisions) -> dict[str, int]:
    """Labels of the parent's shots by name, except those of studies that are judged again."""
    return {
        name: label
        for name, label in labels_of(parent).items()
        if not ((parsed := _PARSED_NAME.fullmatch(name)) and parsed["study"] in decisions.studies)
    }


def _earlier_picks(
    parent: Detector, decisions: Decisions, rows: Mapping[str, Row]
) -> Iterator[Pick]:
    """Shots that verdicts on the parent, or labels of studies, gave and the results hold."""
    for name, label in _labels_to_keep(parent, decisions).items():
        parsed = _PARSED_NAME.fullmatch(name)
        row = rows.get(parsed["study"]) if parsed else None
        if parsed is None or row is None:
            continue
        index = int(parsed["slice"]) - 1
        # Of a labelled study, heights decided which slices are normal shots.
        by_height = parsed["origin"] == _OF_STUDY
        for stack in row.study.stacks:
            named = stack.source_key if by_height else stack.key
            scored = 0 <= index < len(stack.state) and stack.state[index] == State.SCORED
            if named == parsed["stack"] and scored:
                drawn = by_height or index == _random_slice(parent, row, stack)
                yield Pick(row, stack, index, label, label == 0 and drawn, name)
                break


def _why(choice: Choice) -> str:
    """Why verdicts give no slice, as the end of a sentence."""
    reasons = (
        (choice.missed, "are abnormal, but neither flagged nor with a slice named"),
        (choice.unused, "have no scored stack in its domain"),
    )
    texts = [f"{count} studies {why}" for count, why in reasons if count]
    return f": {'; '.join(texts)}" if texts else ""
