"""A scan from start to end."""

from __future__ import annotations

import datetime
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from medscan import results
from medscan.archive import Bucket, Catalogue, Series, Stack
from medscan.detector import Detector
from medscan.errors import FileError, UsageError
from medscan.results import RunInfo
from medscan.scan.accounting import account
from medscan.scan.assemble import (
    AGGREGATION,
    StackBuilder,
    study_result,
    thumbnails_of,
    worst_of,
)
from medscan.scan.decode import CHUNK, Job, decode
from medscan.scan.guard import Stop, locked, stopping
from medscan.scan.ledger import Finished, Ledger
from medscan.scan.load import catalogue_of, describe, load_scorers
from medscan.scan.options import ScanOptions, Summary, check
from medscan.scan.plan import Task, is_done, make_plan, pseudonym, root_of
from medscan.scan.score import Scored, Scorer

Watch = Callable[[int, int, int], None]
"""`watch(done, studies, slices)` after each slice batch."""


def scan(options: ScanOptions, watch: Watch | None = None) -> Summary:
    """Scan archives and publish the results.

    Raises
    ------
    medscan.errors.UsageError
        Before anything is written: a root is missing, a detector does not fit.
    medscan.errors.LockedError
        Another scan writes to the same results file.
    medscan.errors.DiskError
        An output could not be written.
    """
    check(options)
    if not options.detectors:
        raise UsageError("there is no detector to scan with; fit one with `medscan fit`")
    started = time.monotonic()
    fresh = not options.ledger_path.exists()
    with locked(options.out), stopping() as stop:
        sweep(options)
        ledger = Ledger(options.ledger_path)
        try:
            summary = _Run(options, ledger, stop, watch).go()
        except UsageError:
            if fresh:  # a wrong request leaves nothing behind
                options.ledger_path.unlink()
                sweep(options)
            raise
        finally:
            ledger.close()
    summary.seconds = round(time.monotonic() - started, 3)
    return summary


def sweep(options: ScanOptions) -> None:
    """Remove what a killed scan left half-written; whole parts stay. Called under the lock."""
    left = [*options.parts.glob(".*.part"), *options.out.parent.glob(f".{options.out.name}.*.part")]
    for path in left:
        path.unlink(missing_ok=True)
    with suppress(OSError):  # it still holds parts, or is not there
        options.parts.rmdir()


class _Run:
    """The state of one scan."""

    def __init__(
        self, options: ScanOptions, ledger: Ledger, stop: Stop, watch: Watch | None
    ) -> None:
        self.options, self.ledger, self.stop, self.watch = options, ledger, stop, watch
        self.summary = Summary(out=str(options.out))
        self.builders: dict[str, dict[str, StackBuilder]] = {}
        self.tasks: dict[str, Task] = {}
        self.begun: dict[str, float] = {}
        self.fed: set[str] = set()
        self.written: set[str] = set()
        self.scorers: dict[str, Scorer] = {}

    def go(self) -> Summary:
        options = self.options
        catalogue, self.summary.arriving = catalogue_of(options, self.ledger)
        known = self.ledger.work()
        plan = make_plan(
            catalogue,
            [detector for _, detector in options.detectors],
            known,
            named=options.named,
            identity=options.identity,
        )
        kept = self._kept()
        todo = [task for task in plan if not is_done(task, known, kept, options.tools)]
        self.summary.studies = len(plan)
        self.summary.unchanged = len(plan) - len(todo)
        leftover = self._parts()
        if todo:
            self._scan(todo)
        self._account(catalogue, plan)
        if todo or leftover or (plan and self._outdated()):
            self._publish()
        return self.summary

    # --- what is there already ----------------------------------------------------------------

    def _parts(self) -> list[Path]:
        folder = self.options.parts
        return sorted(folder.glob("*.h5")) if folder.is_dir() else []

    def _kept(self) -> set[str]:
        found = {path.stem for path in self._parts()}
        if self.options.out.exists():
            found |= set(results.open(self.options.out).keys())
        return found

    # --- scanning -----------------------------------------------------------------------------

    def _scan(self, todo: Sequence[Task]) -> None:
        self.tasks = {task.study.key: task for task in todo}
        self.scorers = load_scorers(self.options) if any(t.stacks for t in todo) else {}
        self.options.parts.mkdir(exist_ok=True)
        jobs = decode(self._jobs(todo), self.options.workers, self.options.file_timeout_s)
        for job, drawn in jobs:
            self._take(job, drawn)
        for scorer in self.scorers.values():
            self._put(scorer.flush())
        self.summary.left = len(todo) - len(self.written)
        if self.stop:
            self.summary.stopped = signal.Signals(self.stop.signal or 0).name

    def _jobs(self, todo: Sequence[Task]) -> Iterator[Job]:
        """Jobs study by study; a stop takes effect between studies."""
        for task in todo:
            if self.stop:
                return
            key = task.study.key
            self.begun[key] = time.monotonic()
            found = [self._builder(*entry) for entry in task.stacks]
            self.builders[key] = {builder.stack.key: builder for builder in found}
            for builder in found:
                yield from self._stack_jobs(key, builder)
            self.fed.add(key)
            self._finish_if_complete(key)

    def _builder(self, series: Series, stack: Stack, detector: Detector) -> StackBuilder:
        backbone = self.scorers[detector.digest].method.backbone
        thumbnails = thumbnails_of(series.modality, stack, wanted=self.options.thumbnails)
        return StackBuilder(
            series, stack, detector, backbone.size, backbone.grid, backbone.patch, thumbnails
        )

    def _stack_jobs(self, study: str, builder: StackBuilder) -> Iterator[Job]:
        frames = builder.stack.frames
        for first in range(0, len(frames), CHUNK):
            yield Job(
                builder.stack,
                first,
                frames[first : first + CHUNK],
                builder.size,
                builder.detector.window,
                builder.series.modality,
                self.options.max_file_bytes,
                study,
            )

    def _take(self, job: Job, drawn: Sequence[Any]) -> None:
        builder = self.builders[job.study][job.stack.key]
        scorer = self.scorers[builder.detector.digest]
        for place, item in enumerate(drawn, job.first):
            if isinstance(item, FileError):
                builder.fail(place, item)
            elif item.background:
                builder.skip(place)
            else:
                builder.wait(place, item)
                self._put(scorer.add((job.study, builder, place), item.image))
        self._finish_if_complete(job.study)

    def _put(self, found: Iterator[Scored]) -> None:
        for scored in found:
            study, builder, place = scored.tag
            builder.put(place, scored.score, scored.heatmap)
            self.summary.slices += 1
            self._finish_if_complete(study)
        if self.watch is not None:
            self.watch(len(self.written), len(self.tasks), self.summary.slices)

    def _finish_if_complete(self, key: str) -> None:
        """Write the part of a study all of whose slices have an end."""
        builders = self.builders.get(key)
        if builders is None or key not in self.fed or any(b.left for b in builders.values()):
            return
        task = self.tasks[key]
        spent = time.monotonic() - self.begun[key]
        identify = self.options.identify
        study = study_result(
            task.study,
            [builder.result(spent, identify=identify) for builder in builders.values()],
            task.skipped(),
            patient=pseudonym(task.study.patient_id, self.ledger.pseudonym_key()),
            identify=identify,
        )
        results.write_part(self.options.parts / f"{key}.h5", study)
        outcomes = [*task.out_of_scope(), *worst_of(builders.values())]
        rows = [[o.file.path, str(o.reason), o.detail] for o in outcomes]
        self.ledger.finish(
            key, Finished(task.work_key, root_of(task.study), self.options.tools, rows)
        )
        self.written.add(key)
        self.summary.scanned += 1
        self.summary.flagged += study.flagged
        del self.builders[key]

    # --- accounting and publishing ------------------------------------------------------------

    def _account(self, catalogue: Catalogue, plan: Sequence[Task]) -> None:
        """What became of every file found; those of studies not reached are left over."""
        entries = account(catalogue, plan, self.ledger.work(), Task.left_over)
        reasons = Counter(str(entry.outcome.reason) for entry in entries)
        buckets = Counter(str(entry.bucket) for entry in entries)
        self.summary.entries = entries
        self.summary.reasons = dict(sorted(reasons.items()))
        self.summary.files = {str(bucket): buckets[str(bucket)] for bucket in Bucket}

    def _tables(self) -> tuple[list[Any], list[Any]]:
        """Failures (path, stage, reason, message) and skipped files (path, reason), sorted."""
        found = [(e.bucket, e.file.path, e.outcome) for e in self.summary.entries]
        failures = [(p, "read", str(o.reason), o.detail) for b, p, o in found if b is Bucket.FAILED]
        skipped = [(p, str(o.reason)) for b, p, o in found if b is Bucket.SKIPPED]
        return failures, skipped

    def _outdated(self) -> bool:
        """Whether the accounting of the published results is not today's."""
        if not self.options.out.exists():
            return True
        run = results.open(self.options.out).run()
        return (run.failures, run.skipped) != self._tables()

    def _publish(self) -> None:
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
        )
        parts = self._parts()
        results.publish(options.out, run, parts)
        for part in parts:
            part.unlink()
        sweep(options)

    def _described(self) -> list[dict[str, Any]]:
        """The detectors of this run, and those that made the results that are kept."""
        found = {d.digest: describe(d) for _, d in self.options.detectors}
        if self.options.out.exists():
            for old in results.open(self.options.out).run().detectors:
                found.setdefault(old["hash"], old)
        return [found[digest] for digest in sorted(found)]
