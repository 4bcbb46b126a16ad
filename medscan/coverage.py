"""Sum up a plan: how many studies have a score, how many have none, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from medscan.archive import Bucket, Outcome, Reason
from medscan.planning import FindWork, Task, is_new
from medscan.results import Work, gone_from

KINDS_NAMED = 5
"""Kinds of image out of scope that the line at the end names at most."""


@dataclass(slots=True)
class Coverage:
    """Studies, each counted once: `scored` to `kept_only`.

    Parameters
    ----------
    scored : int
        Those with a score that this scan asked for, from now or earlier.
    assumed : int
        Those of them whose header does not say all that the detectors ask for.
    unreadable, empty : int
        Those whose files could not be read, or show only background.
    out_of_scope : dict
        Those that no detector was fitted for, by kind of image.
    unstated : dict
        Those out of scope whose header does not say what a detector asks for, by what is missing.
    waiting : int
        Those that are new, changed, or lack a score: the scan did not reach them.
    kept_only : int
        Those with nothing but scores of earlier scans that this one did not ask for.
    detectors : dict
        Studies scored by each detector, by name.
    kept : dict
        Studies that keep a score of a detector that this scan did not ask for, by its name.
    kept_since : str
        When the oldest of these scores was made, ISO 8601, UTC.
    outdated : int
        Scores that were dropped because their files have changed.
    dropped : int
        Scores that were dropped because the scan was asked to.
    """

    scored: int = 0
    assumed: int = 0
    unreadable: int = 0
    empty: int = 0
    out_of_scope: dict[str, int] = field(default_factory=dict)
    unstated: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    kept_only: int = 0
    detectors: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    kept_since: str = ""
    outdated: int = 0
    dropped: int = 0

    def text(self) -> str:
        """Return the counts in words; empty without a study."""
        by = self.detectors.items() if len(self.detectors) > 1 else ()
        beyond = sorted(self.out_of_scope.items(), key=lambda pair: (-pair[1], pair[0]))
        others = sum(count for _, count in beyond[KINDS_NAMED:])
        kinds = [f"{count} {kind}" for kind, count in beyond[:KINDS_NAMED]]
        kinds += [f"{others} of other kinds"] * bool(others)
        scored = [f"{count} by {name}" for name, count in sorted(by)]
        scored += [f"{self.assumed} by assumption"] * bool(self.assumed)
        silent = sum(self.unstated.values())
        kinds += [f"{silent} that do not say"] * bool(silent)
        counts = {
            _with("scored", scored): self.scored,
            _with("out of scope", kinds): sum(self.out_of_scope.values()) + silent,
            "not readable": self.unreadable,
            "background only": self.empty,
            "scored by an earlier scan only": self.kept_only,
            "not yet scanned": self.waiting,
        }
        total = sum(counts.values())
        told = [f"{count} {what}" for what, count in counts.items() if count]
        return f"of {total} studies " + ", ".join(told) if total else ""

    def notes(self) -> list[str]:
        """Say what a person may do about studies out of scope, and which scores are kept."""
        lines = [
            f"{count} {'study' if count == 1 else 'studies'} out of scope: the files do not name "
            f"a {missing}; name a detector to score {'it' if count == 1 else 'them'}"
            for missing, count in sorted(self.unstated.items())
        ]
        kept = [f"{count} of {name}" for name, count in sorted(self.kept.items())]
        since = f"since {self.kept_since[:10]}; not scored now"
        lines += [f"scores kept: {', '.join(kept)} ({since})"] * bool(kept)
        why = "because their files have changed and their detector was not asked for"
        lines += [f"{self.outdated} scores dropped, {why}"] * bool(self.outdated)
        return lines + [f"{self.dropped} scores dropped, as asked"] * bool(self.dropped)


def _with(what: str, parts: Sequence[str]) -> str:
    return f"{what} ({', '.join(parts)})" if parts else what


def cover(plan: Sequence[Task], set_aside: Iterable[Outcome], find_work: FindWork) -> Coverage:
    """Sum up a plan after its scan.

    Parameters
    ----------
    plan : sequence of Task
    set_aside : iterable of Outcome
        Of files in no study of the plan; where all files of a study failed, it is not readable.
    find_work : callable
        Looks up results as they are now; see `medscan.planning.FindWork`.
    """
    failed = {o.study for o in set_aside if o.bucket is Bucket.FAILED and o.study}
    coverage = Coverage(unreadable=len(failed - {task.study.uid for task in plan}))
    beyond, by_detector, kept = Counter[str](), Counter[str](), Counter[str]()
    silent = Counter[str]()
    since: list[str] = []
    for task in plan:
        work = find_work(task.study.key)
        asked = {score.asked for score in task.earlier.kept}
        still = [score for score in work.scores if score.asked in asked] if work else []
        kept.update({score.detector for score in still})
        since += [score.scanned for score in still]
        coverage.outdated += len(gone_from(task.earlier, work).outdated) if work else 0
        coverage.dropped += len(task.earlier.dropped)
        if is_new(task, work) or work is None:
            coverage.waiting += 1
        else:
            _count(task, work, coverage, beyond, silent, by_detector)
    coverage.out_of_scope, coverage.detectors = dict(beyond), dict(by_detector)
    coverage.unstated = dict(sorted(silent.items()))
    coverage.kept, coverage.kept_since = dict(kept), min(since, default="")
    return coverage


def _count(
    task: Task,
    work: Work,
    coverage: Coverage,
    beyond: Counter[str],
    silent: Counter[str],
    by_detector: Counter[str],
) -> None:
    """Count a study that has been scanned."""
    rows = zip(task.study.files(), work.outcomes, strict=True)
    reasons = {file: Reason(reason) for file, (_, reason, _) in rows}
    found: dict[str, set[Reason]] = {}
    for _, stack, detector in task.stacks:
        found.setdefault(detector.name, set()).update(reasons[f.file] for f in stack.frames)
    scored = {name for name, seen in found.items() if Reason.SCANNED in seen}
    by_detector.update(scored)
    if scored:
        coverage.scored += 1
        coverage.assumed += bool(task.assumed)
    elif any(reason.bucket is Bucket.FAILED for seen in found.values() for reason in seen):
        coverage.unreadable += 1
    elif found:
        coverage.empty += 1
    elif task.earlier.kept:
        coverage.kept_only += 1
    elif missing := task.missing():
        silent[missing] += 1
    else:
        beyond[task.kinds()] += 1
