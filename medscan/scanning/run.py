"""A scan from start to end: lock and reconcile, survey the archive, scan due studies, publish."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from medscan import results
from medscan.archive import Bucket, Catalogue
from medscan.coverage import cover
from medscan.errors import LedgerError, UsageError
from medscan.files import remove
from medscan.nights import Night, compare_with_last, remember_night
from medscan.options import ScanOptions
from medscan.planning import (
    Ledger,
    Survey,
    Task,
    Walk,
    account,
    check,
    dropped_scores,
    due_tasks,
    fingerprint_of,
    is_quarantined,
    mark_changes,
    move_away,
    parts_of,
    pseudonym_key,
    reconcile,
    reconcile_shard,
    remove_leftovers,
    scan_pseudonyms,
    survey_archive,
    undropped_notes,
    walk,
)
from medscan.scanning.engine import Assignment, Engine, LocalEngine
from medscan.scanning.guard import Stop, StoppedError, Watchdog, stopping
from medscan.scanning.lock import locked
from medscan.scanning.part import FinishedStudy
from medscan.scanning.pipeline import Watch
from medscan.scanning.publish import (
    Publish,
    accounts_changed,
    link_changed,
    publish_results,
    publish_worklist,
)
from medscan.scanning.summary import Summary
from medscan.scanning.unchanged import is_final, recall_summary, remember_summary, signature

log = logging.getLogger("medscan.scan")


def scan(
    options: ScanOptions,
    watch: Watch | None = None,
    publish: Publish | None = None,
    engine: Engine | None = None,
) -> Summary:
    """Scan archives and publish the results, and their worklist if `publish` writes one.

    Parameters
    ----------
    options : ScanOptions
    watch : callable or None
        Shows progress; see `medscan.scanning.Watch`.
    publish : callable or None
        Writes the worklist; see `medscan.scanning.Publish`.
    engine : Engine or None
        Scans the studies; None: this machine does.

    Returns
    -------
    Summary
        Its `failure` says what ended the scan early, if a person must act, and its `unwritten`
        which outputs beside the results could not be written.

    Raises
    ------
    medscan.errors.UsageError
        If a root is missing or a detector does not fit; nothing has been written then.
    medscan.errors.LockedError
        If another scan uses the same results file or ledger.
    medscan.errors.DiskError
        If an output cannot be written.
    """
    check(options)
    started, outputs = time.monotonic(), options.outputs
    log.info("scan begins", extra={"pid": os.getpid(), "host": socket.gethostname()})
    with (
        locked(outputs.out) as dead,
        locked(outputs.ledger_path),
        stopping(options.budget.until) as stop,
        Watchdog() as watchdog,
        _undone_on_usage_error(options),
    ):
        notes = [f"the lock of {dead}, which is dead, was taken over"] if dead else []
        damage: list[str] = []
        remove_leftovers(outputs)
        run = (stop, watchdog, watch, publish, engine or LocalEngine())
        try:
            summary = _scan(options, notes, damage, *run)
        except LedgerError:  # again, with a new ledger that is made from parts and results
            notes.append(f"the damaged ledger is now {move_away(outputs.ledger_path).name}")
            summary = _scan(options, notes, damage, *run)
        if stop.signal is not None:  # also if nothing was left to scan when it came
            summary.stopped = stop.reason
    summary.seconds = round(time.monotonic() - started, 3)
    log.info("scan ends", extra=_logged(summary))
    return summary


def _scan(
    options: ScanOptions,
    notes: list[str],
    damage: list[str],
    stop: Stop,
    watchdog: Watchdog,
    watch: Watch | None,
    publish: Publish | None,
    engine: Engine,
) -> Summary:
    ledger = Ledger(options.outputs.ledger_path)
    try:
        reconcile_shard(ledger, options.outputs, options.inputs.shard)
        reconcile(ledger, options.outputs, damage)
        run = _Run(options, ledger, damage, stop, watchdog, watch, engine)
        summary = run.go()
        if publish is not None:
            try:
                with stop.limited(), summary.writing():
                    publish_worklist(options.outputs, ledger, publish)
            except StoppedError:
                summary.notes.append("the next scan writes the worklist: there was no time left")
        run.remember()  # last: a scan that an error ends tells nobody what got worse
    finally:
        ledger.close()
    summary.notes = [*notes, *summary.notes]
    return summary


@contextmanager
def _undone_on_usage_error(options: ScanOptions) -> Iterator[None]:
    """On UsageError, remove the files this run created, except a key shared by shards."""
    outputs = options.outputs
    created = [outputs.ledger_path, *([] if options.inputs.shard else [outputs.key_path])]
    new = [path for path in created if not path.exists()]
    try:
        yield
    except UsageError:
        for path in new:
            remove(path)
        remove_leftovers(outputs)
        raise


class _Run:
    """The state of one scan."""

    def __init__(
        self,
        options: ScanOptions,
        ledger: Ledger,
        damage: list[str],
        stop: Stop,
        watchdog: Watchdog,
        watch: Watch | None,
        engine: Engine,
    ) -> None:
        self.options, self.ledger, self.stop = options, ledger, stop
        self.watchdog, self.watch, self.engine = watchdog, watch, engine
        outputs, shard = options.outputs, options.inputs.shard
        self.summary = Summary(out=str(outputs.out), shard=str(shard or ""), damage=damage)
        self.started = time.monotonic()
        self.plan: list[Task] = []
        self.night: Night | None = None
        self.final: str | None = None
        old = results.readable(outputs.out)
        key = pseudonym_key(outputs, old.key_fingerprint() if old else "")
        self.key_fingerprint = fingerprint_of(key)
        self.pseudonyms = scan_pseudonyms(options.inputs, options.privacy, key)

    def go(self) -> Summary:
        try:
            self._go()
        except StoppedError:
            self.summary.stopped = self.stop.reason
            if self.summary.scanned:
                why = "the next scan publishes what this one has scanned: there was no time left"
                self.summary.notes.append(why)
        return self.summary

    def _go(self) -> None:
        options, summary = self.options, self.summary
        with self.stop.immediate():
            with summary.stage("walk"):
                walking = self._progress("the archive is walked")
                walked = walk(options.inputs, options.outputs, walking)
                signed = signature(options, walked, self.pseudonyms)
            if not summary.damage and recall_summary(options, self.ledger, signed, summary):
                return
            surveyed = self._survey(walked)
        self.plan, summary.arriving = surveyed.plan, surveyed.arriving
        self._work_through(surveyed.catalogue, walked)
        final = is_final(walked, surveyed.catalogue.set_aside, summary)
        if final and not due_tasks(self.plan, self.ledger, options):
            self.final = signature(options, walked, self.pseudonyms)

    def remember(self) -> None:
        """Keep what this scan found, for the next one to compare itself with."""
        if self.night is not None:
            remember_night(self.ledger, self.night)
        if self.final is not None:
            remember_summary(self.ledger, self.final, self.summary)

    def _survey(self, walked: Walk) -> Survey:
        inputs = self.options.inputs
        with self.summary.stage("index"):
            return survey_archive(
                inputs,
                self.pseudonyms,
                self.options.identity,
                walked=walked,
                cache=None if inputs.paranoid else self.ledger,  # the cache trusts sizes and times
                find_work=self.ledger.work,
                workers=self.options.compute.workers,
                progress=self._progress("the archive is indexed"),
            )

    def _progress(self, doing: str) -> Callable[[int], None]:
        """Return a callback for the stages before the plan; it ends a scan that must stop.

        Nothing is published then: without a plan, studies not reached would look absent.
        """

        def progress(_count: int) -> None:
            self.watchdog.feed(doing)
            self.stop.check()

        return progress

    def _work_through(self, catalogue: Catalogue, walked: Walk) -> None:
        """Scan what is due, account for every file, and publish what has changed."""
        options, summary, plan = self.options, self.summary, self.plan
        with summary.stage("plan"):
            due = due_tasks(plan, self.ledger, options)
        summary.studies, summary.unchanged = len(plan), len(plan) - len(due)
        has_parts, completed = bool(parts_of(options.outputs)), False
        failed = sum(outcome.bucket is Bucket.FAILED for outcome in catalogue.set_aside)
        try:
            if due:
                self._scan(due, failed)
            completed = True
        finally:
            # Finished studies are published even if an error ended the scan. After a second signal
            # there is no time: their parts stay for the next scan.
            if completed or (summary.scanned and not self.stop.at_once):
                self._conclude(catalogue, walked, has_parts=has_parts)

    def _is_quarantined(self, task: Task) -> bool:
        return is_quarantined(task, self.ledger.trouble(task.study.key))

    def _scan(self, due: Sequence[Task], failed: int) -> None:
        options, summary = self.options, self.summary
        assignment = Assignment(
            options, self.pseudonyms, self.stop, self.watchdog, self._note, self.watch, failed
        )
        tally = assignment.tally
        try:
            with summary.stage("scan"):
                self.engine.scan(due[: options.budget.max_studies], assignment)
        finally:
            # Scorers count what they repeat for studies that are left unfinished, too.
            summary.slices, summary.repeated = tally.slices, min(tally.repeated, tally.slices)
            summary.notes, summary.profile = tally.notes, tally.profile
        summary.left = len(due) - tally.done
        if summary.left:
            summary.stopped = self.stop.reason or f"--max-studies {options.budget.max_studies}"
        summary.failure = self.stop.failure

    def _note(self, study: FinishedStudy) -> None:
        """Record a study whose part is written; if this fails, the next scan adopts the part."""
        if study.work is not None:
            self.ledger.finish(study.study, study.work, study.decoder_failure)
        self.summary.scanned += 1
        self.summary.unscored += not study.stacks
        self.summary.flagged += study.flagged
        self.summary.uncertain += study.uncertain
        self.summary.unlike += study.unlike
        self.summary.header_unused += study.header_unused
        self.summary.passed_over += study.passed_over
        log.info("study scanned", extra=study.facts())

    def _conclude(self, catalogue: Catalogue, walked: Walk, *, has_parts: bool) -> None:
        """Account for every file, and publish if anything has changed."""
        options, summary, plan = self.options, self.summary, self.plan
        self.watchdog.feed("results are published")
        self._account(catalogue, plan)
        dropped = dropped_scores(plan, self.ledger)
        summary.notes += undropped_notes(plan, options.inputs)
        prune_s = options.outputs.prune_s
        changes = mark_changes(walked.files, plan, self.ledger, self.pseudonyms, prune_s, dropped)
        night, worse = compare_with_last(self.ledger, summary.entries, changes)
        # An empty shard gets a file too: a missing file would mean that it was not scanned.
        needs_file = bool(plan or options.inputs.shard)
        accounts = needs_file and accounts_changed(options.outputs, summary)
        changed = changes or accounts or link_changed(options.outputs) or summary.damage
        # After a failure, changed marks alone are not published: studies may only seem absent.
        if summary.scanned or has_parts or (changed and not summary.failure):
            with summary.stage("publish"):
                seconds = round(time.monotonic() - self.started, 3)
                key, check = self.key_fingerprint, self.stop.check_limit
                publish_results(
                    options, summary, self.ledger, changes, dropped, key, seconds, check
                )
            summary.pruned = sum(mark is None for mark in changes.values())
        if not summary.failure:  # after one, files may only seem to be gone
            summary.worse, self.night = worse, night
        summary.coverage = cover(plan, catalogue.set_aside, self.ledger.work)
        summary.quarantined = sum(map(self._is_quarantined, plan))
        _, summary.stale, summary.absent = self.ledger.counts()

    def _account(self, catalogue: Catalogue, plan: Sequence[Task]) -> None:
        """Fill in the outcome of every file; those of studies not reached are left over."""
        entries = account(
            catalogue, plan, self.ledger.work, Task.left_over_outcomes, self.pseudonyms
        )
        reasons = Counter(str(entry.outcome.reason) for entry in entries)
        buckets = Counter(str(entry.bucket) for entry in entries)
        self.summary.entries = entries
        self.summary.reasons = dict(sorted(reasons.items()))
        self.summary.files = {str(bucket): buckets[str(bucket)] for bucket in Bucket}
        for entry in entries:
            if entry.bucket is Bucket.FAILED:
                reason = str(entry.outcome.reason)
                facts = {"file": entry.file.path, "reason": reason, "told": True}
                log.warning("file failed", extra=facts)


def _logged(summary: Summary) -> dict[str, Any]:
    """Return what the log says at the end.

    Why a scan failed may name a path, which the log must not hold: the terminal shows it.
    """
    files = {bucket: summary.files.get(bucket, 0) for bucket in ("skipped", "failed")}
    reason = "failure" if summary.failure else summary.stopped
    return summary.as_dict() | files | {"files": sum(summary.files.values()), "reason": reason}
