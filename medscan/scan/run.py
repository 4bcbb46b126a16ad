"""A scan from start to end."""

from __future__ import annotations

import datetime
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from medscan import results
from medscan.archive import Bucket, Catalogue
from medscan.errors import DeviceError, LedgerError, UsageError
from medscan.files import make_folder, remove
from medscan.results import RunInfo, StudyResult
from medscan.scan.accounting import account
from medscan.scan.assemble import AGGREGATION
from medscan.scan.changes import Changes, changes_of
from medscan.scan.decode import Decoders
from medscan.scan.done import Done, write
from medscan.scan.guard import Stop, StoppedError, Watchdog, stopping
from medscan.scan.ledger import Ledger
from medscan.scan.load import (
    Walk,
    catalogue_of,
    describe,
    loaded_scorers,
    plane_of,
    pseudonyms_of,
    walk,
)
from medscan.scan.lock import locked
from medscan.scan.options import Engine, ScanOptions, Summary, check
from medscan.scan.pipeline import Pipeline, Watch
from medscan.scan.plan import (
    Task,
    by_content,
    by_time,
    is_due,
    is_quarantined,
    make_plan,
    ordered,
)
from medscan.scan.profile import Clock, profile_of
from medscan.scan.remains import agree, agree_shard, move_away, parts_of, stamp_of, sweep
from medscan.scan.score import Scorer
from medscan.scan.secret import fingerprint_of, pseudonym_key
from medscan.scan.settle import listed
from medscan.scan.unchanged import is_final, recall, remember, signature

log = logging.getLogger("medscan.scan")


Publish = Callable[[Path, Path, Path], None]
"""`publish(out, table, page)` writes the worklist of a results file."""


def scan(
    options: ScanOptions, watch: Watch | None = None, publish: Publish | None = None
) -> Summary:
    """Scan archives and publish the results, and their worklist if `publish` writes one.

    Returns
    -------
    Summary
        Its `failure` says what ended the scan before its time, if that needs a person.

    Raises
    ------
    medscan.errors.UsageError
        Before anything is written: a root is missing, a detector does not fit.
    medscan.errors.LockedError
        Another scan uses the same results file or ledger.
    medscan.errors.DiskError
        An output could not be written.
    """
    check(options)
    if not options.detectors:
        raise UsageError("there is no detector to scan with; fit one with `medscan fit`")
    started = time.monotonic()
    log.info("scan begins", extra={"pid": os.getpid(), "host": socket.gethostname()})
    with (
        locked(options.out) as dead,
        locked(options.ledger_path),
        stopping(options.until) as stop,
        Watchdog() as watchdog,
        _nothing_left(options),
    ):
        notes = [f"the lock of {dead}, which is dead, was taken over"] if dead else []
        sweep(options)
        try:
            summary = _scan(options, stop, watchdog, watch, publish, notes)
        except LedgerError:  # once more, with a new one made from parts and results
            notes.append(f"the damaged ledger is now {move_away(options.ledger_path).name}")
            summary = _scan(options, stop, watchdog, watch, publish, notes)
    summary.seconds = round(time.monotonic() - started, 3)
    log.info("scan ends", extra=_summed(summary))
    return summary


def _scan(
    options: ScanOptions,
    stop: Stop,
    watchdog: Watchdog,
    watch: Watch | None,
    publish: Publish | None,
    notes: list[str],
) -> Summary:
    ledger = Ledger(options.ledger_path)
    try:
        agree_shard(ledger, options)
        agree(ledger, options, notes)
        summary = _Run(options, ledger, stop, watchdog, watch).go()
        if publish is not None:
            _publish_worklist(options, ledger, publish)
    finally:
        ledger.close()
    summary.notes = [*notes, *summary.notes]
    return summary


def _publish_worklist(options: ScanOptions, ledger: Ledger, publish: Publish) -> None:
    """Write the worklist unless it is there and of these very results: no clock is trusted."""
    stamp, (table, page) = stamp_of(options.out), options.worklists
    there = table.exists() and page.exists()
    if stamp and not (there and ledger.meta("worklist") == stamp):
        publish(options.out, table, page)
        ledger.note("worklist", stamp)


@contextmanager
def _nothing_left(options: ScanOptions) -> Iterator[None]:
    """A wrong request leaves nothing behind, but for a key of shards: others may have it by now."""
    made = [options.ledger_path, *([] if options.shard else [options.key_path])]
    new = [path for path in made if not path.exists()]
    try:
        yield
    except UsageError:
        for path in new:
            remove(path)
        sweep(options)
        raise


class _Run:
    """The state of one scan."""

    def __init__(
        self,
        options: ScanOptions,
        ledger: Ledger,
        stop: Stop,
        watchdog: Watchdog,
        watch: Watch | None,
    ) -> None:
        self.options, self.ledger, self.stop = options, ledger, stop
        self.watchdog, self.watch = watchdog, watch
        self.summary = Summary(out=str(options.out), shard=str(options.shard or ""))
        self.started = time.monotonic()
        self.plan: list[Task] = []
        old = results.open(options.out) if options.out.exists() else None
        key = pseudonym_key(options, old.key_fingerprint() if old else "")
        self.key_fingerprint = fingerprint_of(key)
        self.pseudonyms = pseudonyms_of(options, key)

    def go(self) -> Summary:
        try:
            self._go()
        except StoppedError:
            self.summary.stopped = self.stop.reason
        return self.summary

    def _go(self) -> None:
        options, summary = self.options, self.summary
        with summary.stage("walk"):
            walked = walk(options, self._going("the archive is walked"))
            signed = signature(options, walked, self.pseudonyms)
        if recall(options, self.ledger, signed, summary):
            return
        cache = None if options.paranoid else self.ledger  # it trusts sizes and times
        going = self._going("the archive is indexed")
        with summary.stage("index"):
            found = catalogue_of(options, cache, self.pseudonyms, walked, going)
        catalogue, cut = listed(found[0], walked.found, self.ledger.work, self.pseudonyms)
        summary.arriving = found[1] + cut
        self._look_at(catalogue, walked)
        if is_final(walked, catalogue.set_aside, summary) and not any(map(self._is_due, self.plan)):
            remember(self.ledger, signature(options, walked, self.pseudonyms), summary)

    def _going(self, doing: str) -> Callable[[int], None]:
        """Progress with what is not yet known whole: an early end leaves it to the next scan."""

        def progress(_count: int) -> None:
            self.watchdog.fed(doing)
            self.stop.check()

        return progress

    def _look_at(self, catalogue: Catalogue, walked: Walk) -> None:
        """Scan what is due, account for all, and publish what has changed."""
        options, summary = self.options, self.summary
        with summary.stage("plan"):
            self.plan = plan = self._plan(catalogue)
            due = [task for task in plan if self._is_due(task)]
            due = ordered(due, options.order, self.ledger.work)
        summary.studies, summary.unchanged = len(plan), len(plan) - len(due)
        left_before, whole = parts_of(options), False
        failed = sum(outcome.bucket is Bucket.FAILED for outcome in catalogue.set_aside)
        try:
            if due:
                self._scan(due, failed)
            whole = True
        finally:  # what is finished is published, whatever ended the rest
            if whole or (summary.scanned and not self.stop.at_once):
                self._conclude(catalogue, walked, left_before)

    def _conclude(self, catalogue: Catalogue, walked: Walk, left_before: Sequence[Path]) -> None:
        """Account for all, and publish what has changed."""
        options, summary, plan = self.options, self.summary, self.plan
        self.watchdog.fed("results are published")
        self._account(catalogue, plan)
        changes = changes_of(walked.found, plan, self.ledger, self.pseudonyms, options.prune_s)
        # Of an empty share too there is a file: a missing one was not scanned.
        told = changes or ((plan or options.shard) and self._accounts_changed())
        if summary.scanned or left_before or (told and not summary.failure):
            with summary.stage("publish"):
                self._publish(changes)
            summary.pruned = sum(mark is None for mark in changes.values())
        summary.quarantined = sum(map(self._is_quarantined, plan))
        _, summary.stale, summary.absent = self.ledger.counts()

    def _plan(self, catalogue: Catalogue) -> list[Task]:
        return make_plan(
            catalogue,
            [detector for _, detector in self.options.detectors],
            self.ledger.work,
            named=self.options.named,
            identity=self.options.identity,
            pseudonyms=self.pseudonyms,
            fingerprint=by_content if self.options.paranoid else by_time,
        )

    def _is_due(self, task: Task) -> bool:
        key, options = task.study.key, self.options
        work, trouble = self.ledger.work(key), self.ledger.trouble(key)
        return is_due(task, work, trouble, options.tools, options.rescan)

    def _is_quarantined(self, task: Task) -> bool:
        return is_quarantined(task, self.ledger.trouble(task.study.key))

    def _scan(self, due: Sequence[Task], failed: int) -> None:
        options, summary = self.options, self.summary
        tasks = due[: options.max_studies]
        with summary.stage("scan"):
            done = self._pipe(tasks, failed)
        summary.left = len(due) - done
        if summary.left:
            summary.stopped = self.stop.reason or f"--max-studies {options.max_studies}"
        summary.failure = self.stop.failure

    def _pipe(self, tasks: Sequence[Task], failed: int) -> int:
        """How many were done."""
        if self.options.engine is Engine.RAY and any(task.stacks for task in tasks):
            return self._drive(tasks, failed)
        options, clock = self.options, Clock()
        # The decoders start while the model is loaded.
        with Decoders(options.workers, options.file_timeout_s, clock) as decoders:
            try:
                return self._piped(tasks, failed, decoders, clock)
            except DeviceError as error:
                self.stop.failure = str(error)
                return 0

    def _piped(self, tasks: Sequence[Task], failed: int, decoders: Decoders, clock: Clock) -> int:
        options, nothing = self.options, nullcontext(dict[str, Scorer]())
        needed = any(task.stacks for task in tasks)
        with loaded_scorers(options, clock) if needed else nothing as scorers:
            make_folder(options.parts)
            pipeline = Pipeline(
                options,
                self.pseudonyms,
                scorers,
                self.stop,
                self.watchdog,
                decoders.draw,
                self._keep,
                self.watch,
            )
            pipeline.failed = failed
            started = time.perf_counter()
            pipeline.run(tasks)
            spent = time.perf_counter() - started
            lanes = next((scorer.lanes.count for scorer in scorers.values()), 1)
            self.summary.profile = profile_of(clock, spent, options.workers, lanes)
        self.summary.slices = pipeline.slices
        return pipeline.done

    def _drive(self, tasks: Sequence[Task], failed: int) -> int:
        """How many were done, on a cluster."""
        from medscan.scan.driver import Driver

        options, watch = self.options, self.watch
        driver = Driver(options, self.pseudonyms, self.stop, self.watchdog, self._note, watch)
        driver.failed = failed
        try:
            driver.run(tasks)
        finally:
            self.summary.slices, self.summary.notes = driver.slices, driver.notes
        return driver.done

    def _keep(self, study: StudyResult, died: str) -> None:
        """Write the part of a study, then note it: a part that is not noted is found again."""
        self._note(write(self.options.parts, study, died))

    def _note(self, done: Done) -> None:
        if done.work is not None:
            self.ledger.finish(done.study, done.work, done.died)
        self.summary.scanned += 1
        self.summary.flagged += done.flagged
        log.info("study scanned", extra=done.facts())

    # --- accounting and publishing ------------------------------------------------------------

    def _account(self, catalogue: Catalogue, plan: Sequence[Task]) -> None:
        """What became of every file found; those of studies not reached are left over."""
        entries = account(catalogue, plan, self.ledger.work, Task.left_over, self.pseudonyms)
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

    def _tables(self) -> tuple[list[Any], list[Any]]:
        """Failures (path, stage, reason, message) and skipped files (path, reason), sorted."""
        found = [(e.bucket, e.file.path, e.outcome) for e in self.summary.entries]
        failures = [(p, "read", str(o.reason), o.detail) for b, p, o in found if b is Bucket.FAILED]
        skipped = [(p, str(o.reason)) for b, p, o in found if b is Bucket.SKIPPED]
        return failures, skipped

    def _accounts_changed(self) -> bool:
        """Whether the accounting of the published results is not today's."""
        if not self.options.out.exists():
            return True
        old = results.open(self.options.out).run()
        return (old.failures, old.skipped) != self._tables()

    def _publish(self, changes: Changes) -> None:
        options = self.options
        failures, skipped = self._tables()
        run = RunInfo(
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            command=options.command,
            aggregation=AGGREGATION,
            detectors=self._described(),
            counts=self.summary.files | {"files": sum(self.summary.files.values())},
            failures=failures,
            skipped=skipped,
            seconds=round(time.monotonic() - self.started, 3),
            slices=self.summary.slices,
            key_fingerprint=self.key_fingerprint,
            precision=options.precision,
            plane=plane_of(options) or "",
            identify=options.identify,
            hash_paths=options.hashes_paths,
            shard=str(options.shard or ""),
        )
        parts = parts_of(options)
        results.publish(options.out, run, parts, changes)
        self.ledger.published(stamp_of(options.out), changes)
        for part in parts:
            remove(part)
        sweep(options)

    def _described(self) -> list[dict[str, Any]]:
        """The detectors of this run, and those that made the results that are kept."""
        found = {d.digest: describe(d) for _, d in self.options.detectors}
        if self.options.out.exists():
            for old in results.open(self.options.out).run().detectors:
                found.setdefault(old["hash"], old)
        return [found[digest] for digest in sorted(found)]


def _summed(summary: Summary) -> dict[str, Any]:
    """What the log says at the end; why a scan failed may name a path: that is told elsewhere."""
    files = {bucket: summary.files.get(bucket, 0) for bucket in ("skipped", "failed")}
    reason = "failure" if summary.failure else summary.stopped
    return summary.as_dict() | files | {"files": sum(summary.files.values()), "reason": reason}
