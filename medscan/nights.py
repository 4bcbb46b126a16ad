"""Compare a scan with the last one, so that a person is called only when something got worse.

What a scan finds becomes the measure for the next one: a fault is reported once, in the night in
which it appears, and not every night for as long as it lasts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from medscan.archive import Bucket, Reason
from medscan.planning import FileEntry, Ledger, MarkChanges

NOTE_NAME = "last scan"
"""Name of the note in the ledger."""
UNDECIDED = (Reason.ARRIVING, Reason.LEFT_OVER)
"""Reasons that say nothing about whether a file is sound."""
BEYOND = (Reason.OUT_OF_SCOPE, Reason.UNSTATED)
"""Reasons of files that no detector scores; details begin with the kind of image."""
KINDS_NAMED = 3
"""Kinds of image named in one line."""


@dataclass(frozen=True, slots=True)
class Night:
    """What one scan found, as far as the next one is compared with it.

    Parameters
    ----------
    files, scanned, out_of_scope : int
        Numbers of files.
    undecided : int
        Files of studies that the scan did not reach, or that were still arriving.
    failed : tuple of str
        Files that failed, sorted, as the outputs name them.
    kinds : tuple of str
        Kinds of image without a detector, such as `CT CHEST`, sorted.
    removed : tuple of str
        Keys of studies that were removed on purpose, and that no scan has missed yet.
    """

    files: int = 0
    scanned: int = 0
    out_of_scope: int = 0
    undecided: int = 0
    failed: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def compare_with_last(
    ledger: Ledger, entries: Iterable[FileEntry], changes: MarkChanges
) -> tuple[Night, list[str]]:
    """Return what a scan found, and a line for each thing that got worse since the last scan.

    Parameters
    ----------
    ledger : Ledger
        Ledger that `remember_night` was called with at the end of the last scan.
    entries : iterable of FileEntry
        All files of this scan.
    changes : dict
        See `medscan.planning.mark_changes`; not applied yet.
    """
    entries = list(entries)
    last = _last(ledger)
    tonight = _night(entries, last or Night())
    lines = _failures(entries, set(last.failed if last else ()))
    removed = set(last.removed if last else ())
    tonight = replace(tonight, removed=tuple(sorted(removed.difference(changes))))
    gone = sum(_is_newly_absent(key, ledger, changes) for key in changes.keys() - removed)
    lines += [f"studies gone from the archive: {gone}"] * bool(gone)
    if last:
        lines += _losses(tonight, last)
    return tonight, lines


def remember_night(ledger: Ledger, night: Night) -> None:
    """Keep what a scan found, for the next one to compare itself with."""
    ledger.note(NOTE_NAME, json.dumps(asdict(night)))


def expect_removal(ledger: Ledger, studies: Sequence[str]) -> None:
    """Have the next scan not miss these studies, since they are about to be removed on purpose."""
    last = _last(ledger)
    if last is None:
        return
    works = filter(None, map(ledger.work, studies))
    reasons = Counter(Reason(reason) for work in works for _, reason, _ in work.outcomes)
    night = replace(
        last,
        files=last.files - reasons.total(),
        scanned=last.scanned - reasons[Reason.SCANNED],
        out_of_scope=last.out_of_scope - sum(reasons[reason] for reason in BEYOND),
        removed=tuple(sorted({*last.removed, *studies})),
    )
    remember_night(ledger, night)


def _last(ledger: Ledger) -> Night | None:
    """What the last scan found; None if there was none."""
    kept = ledger.meta(NOTE_NAME)
    return Night(**json.loads(kept)) if kept else None


def _night(entries: Iterable[FileEntry], last: Night) -> Night:
    """Sum up a scan; an undecided file counts as failed if it failed in the last one."""
    reasons = Counter(entry.outcome.reason for entry in entries)
    failed = {_name(entry) for entry in entries if entry.bucket is Bucket.FAILED}
    undecided = {_name(entry) for entry in entries if entry.outcome.reason in UNDECIDED}
    beyond = [e.outcome for e in entries if e.outcome.reason in BEYOND]
    return Night(
        reasons.total(),
        reasons[Reason.SCANNED],
        len(beyond),
        len(undecided),
        tuple(sorted(failed | undecided.intersection(last.failed))),
        tuple(sorted({outcome.detail.partition(": ")[0] for outcome in beyond})),
    )


def _name(entry: FileEntry) -> str:
    return f"{entry.file.root}/{entry.file.path}"


def _failures(entries: Iterable[FileEntry], failed_before: set[str]) -> list[str]:
    """Count the files, or folders that could not be listed, which fail for the first time."""
    new = Counter(
        entry.outcome.reason.value
        for entry in entries
        if entry.bucket is Bucket.FAILED and _name(entry) not in failed_before
    )
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(new.items()))
    return [f"files or folders that fail now: {counts}"] if new else []


def _is_newly_absent(study: str, ledger: Ledger, changes: MarkChanges) -> bool:
    mark = changes[study]
    return bool(mark and mark.absent and not ledger.mark(study).absent)


def _losses(tonight: Night, last: Night) -> list[str]:
    """Compare the numbers of two scans."""
    lines = []
    if tonight.files < last.files:
        lines.append(f"files found: {tonight.files}, {last.files} in the last scan")
    if new := [kind for kind in tonight.kinds if kind not in last.kinds]:
        more = f" and {len(new) - KINDS_NAMED} other kinds" if len(new) > KINDS_NAMED else ""
        named = ", ".join(new[:KINDS_NAMED])
        lines.append(f"images that have no detector, not seen before: {named}{more}")
    elif tonight.out_of_scope > last.out_of_scope and _lost_scope(tonight, last):
        beyond, before = tonight.out_of_scope, last.out_of_scope
        lines.append(f"files without a detector: {beyond}, {before} in the last scan")
    return lines


def _lost_scope(tonight: Night, last: Night) -> bool:
    """Whether files that were scored are not any more, other than those not reached."""
    return tonight.scanned + tonight.undecided < last.scanned
