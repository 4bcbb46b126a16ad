"""The run page: the outcome of every file, speed, and the detectors that were used."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from medscan.archive import Reason
from medscan.report.cards import Cards
from medscan.report.drift import Drift, drifts
from medscan.report.wording import MEANINGS
from medscan.report.worklist import Row
from medscan.results import RunInfo

UNDECIDED = (Reason.ARRIVING, Reason.LEFT_OVER)
"""Reasons to leave a file for the next scan."""
_ON_OWN = " (tried on patients that it was fitted on)"
LISTED = 500
"""Failures that the page lists at most; results.h5 holds all."""


@dataclass(frozen=True, slots=True)
class RunView:
    """The runs that wrote several files, summed up as one.

    Parameters
    ----------
    counts : dict
        Files by bucket.
    reasons : list of (str, str, str, int)
        Bucket, reason, its meaning and number of files; most files first within a bucket.
    failures : list of (path, stage, reason, message)
        At most `LISTED`.
    left_out : int
        Number of failures beyond those.
    waiting : int
        Files left for the next scan.
    runs : list of RunInfo
        Oldest first.
    cards : dict
    drifts : list of Drift
    computed : dict
        By hash of each detector, how its series were computed, in words.
    unlike : dict
        By hash of each detector, how many of its series are unlike its shots, in words.
    """

    counts: dict[str, int]
    reasons: list[tuple[str, str, str, int]]
    failures: list[tuple[str, str, str, str]]
    left_out: int
    waiting: int
    runs: list[RunInfo]
    cards: Cards
    drifts: list[Drift]
    computed: dict[str, str]
    unlike: dict[str, str]


def run_view(runs: Sequence[RunInfo], rows: Sequence[Row], cards: Cards) -> RunView:
    """Sum up the accounting of several files; a run that two of them record counts once."""
    runs = [run for index, run in enumerate(runs) if run not in runs[:index]]
    failures = sorted({failure for run in runs for failure in run.failures})
    counts: Counter[str] = sum((Counter(run.counts) for run in runs), Counter())
    return RunView(
        counts={name: counts[name] for name in ("files", "scanned", "skipped", "failed")},
        reasons=_reasons(runs),
        failures=failures[:LISTED],
        left_out=max(0, len(failures) - LISTED),
        waiting=sum(why in UNDECIDED for run in runs for _, why in run.skipped),
        runs=sorted(runs, key=lambda run: (run.created, run.command)),
        cards=cards,
        drifts=drifts(rows, cards),
        computed=_computed(rows, cards),
        unlike=_unlike(rows),
    )


def failure_messages(runs: Sequence[RunInfo]) -> dict[str, str]:
    """Why each failed file could not be used, by its path."""
    return {path: f"{reason}: {text}" for run in runs for path, _, reason, text in run.failures}


def _computed(rows: Sequence[Row], cards: Cards) -> dict[str, str]:
    """Precisions and runtimes of series by hash of their detector; of several, how many each."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for info in (stack.info for row in rows for stack in row.study.stacks):
        told = [str(info[part]) for part in ("precision", "runtime") if info.get(part)]
        if told:  # not so in files of older versions
            digest = str(info["detector_hash"])
            own = digest in cards and info.get("precision") in cards[digest].tried_on_own
            found[digest][f"{' by '.join(told)}{_ON_OWN * own}"] += 1
    return {
        digest: next(iter(ways))
        if len(ways) == 1
        else ", ".join(f"{how}: {count} series" for how, count in sorted(ways.items()))
        for digest, ways in found.items()
    }


def _unlike(rows: Sequence[Row]) -> dict[str, str]:
    """Of the series that were held against their detector's shots, those that are unlike them."""
    found: dict[str, list[bool]] = defaultdict(list)
    for stack in (stack for row in rows for stack in row.study.stacks):
        if "unlike" in stack.info:
            found[str(stack.info["detector_hash"])].append(bool(stack.unlike))
    return {digest: f"{sum(each)} of {len(each)}" for digest, each in found.items()}


def _reasons(runs: Sequence[RunInfo]) -> list[tuple[str, str, str, int]]:
    files = Counter(("failed", reason) for run in runs for _, _, reason, _ in run.failures)
    files += Counter(("skipped", reason) for run in runs for _, reason in run.skipped)
    ordered = sorted(files.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))
    return [
        (bucket, reason, MEANINGS.get(reason, ""), count) for (bucket, reason), count in ordered
    ]
