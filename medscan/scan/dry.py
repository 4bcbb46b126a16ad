"""What a scan would do, and about how long it would take."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any

from medscan import results
from medscan.errors import DiskError
from medscan.imaging import Slice
from medscan.scan.accounting import Entry, account
from medscan.scan.decode import Drawn, Job, decode
from medscan.scan.ledger import Ledger
from medscan.scan.load import catalogue_of, load_scorers, pseudonyms_of
from medscan.scan.options import ScanOptions, check
from medscan.scan.plan import Task, by_content, by_time, is_due, make_plan, ordered
from medscan.scan.remains import agree, stamp_of
from medscan.scan.secret import BYTES, pseudonym_key
from medscan.scan.settle import listed

SAMPLE = 8
"""Slices that are drawn and scored to measure the time of one."""


@dataclass(slots=True)
class Forecast:
    """Counts of a dry run; `seconds` is an estimate from a few slices."""

    studies: int = 0
    unchanged: int = 0
    slices: int = 0
    by_detector: dict[str, dict[str, int]] = field(default_factory=dict)
    arriving: int = 0
    set_aside: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    entries: list[Entry] = field(default_factory=list, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the entries."""
        names = [f.name for f in fields(self) if f.name != "entries"]
        return {name: getattr(self, name) for name in names}

    def text(self) -> str:
        """For a terminal: a line a detector, a line a reason."""
        lines = [f"{self.studies} studies found, {self.unchanged} of them unchanged"]
        if self.arriving:
            lines.append(f"{self.arriving} more are still arriving")
        for name, counts in sorted(self.by_detector.items()):
            lines.append(f"  {name}: {counts['stacks']} stacks, {counts['slices']} slices")
        lines += [f"  not scanned: {n} {reason}" for reason, n in sorted(self.set_aside.items())]
        minutes, seconds = divmod(round(self.seconds), 60)
        lines.append(f"{self.slices} slices to score: about {minutes} min {seconds} s")
        return "\n".join(lines)


def foresee(options: ScanOptions) -> Forecast:
    """Plan a scan without doing or writing it.

    Raises
    ------
    medscan.errors.UsageError
        As `medscan.scan.scan`.
    """
    check(options)
    forecast = Forecast()
    todo = _planned(options, forecast)
    for task in todo:
        for _, stack, detector in task.stacks:
            counts = forecast.by_detector.setdefault(detector.name, {"stacks": 0, "slices": 0})
            counts["stacks"] += 1
            counts["slices"] += len(stack.frames)
            forecast.slices += len(stack.frames)
    if forecast.slices:
        forecast.seconds = round(_seconds_a_slice(options, todo) * forecast.slices, 1)
    return forecast


def _planned(options: ScanOptions, forecast: Forecast) -> list[Task]:
    """What is not done; tells the forecast of every file found."""
    with _knowing(options) as (cache, known):
        fingerprint = (
            results.open(options.out).run().key_fingerprint if options.out.exists() else ""
        )
        there = fingerprint or options.key_path.exists()
        key = pseudonym_key(options, fingerprint) if there else secrets.token_bytes(BYTES)
        pseudonyms = pseudonyms_of(options, key)
        catalogue, arriving = catalogue_of(options, cache, pseudonyms)
        catalogue, cut = listed(catalogue, known.work, pseudonyms)
        forecast.arriving = arriving + cut
        plan = make_plan(
            catalogue,
            [detector for _, detector in options.detectors],
            known.work,
            named=options.named,
            identity=options.identity,
            pseudonyms=pseudonyms,
            fingerprint=by_content if options.paranoid else by_time,
        )
        due = [t for t in plan if _is_due(t, known, options)]
        due = ordered(due, options.order, known.work)
        forecast.studies, forecast.unchanged = len(plan), len(plan) - len(due)
        forecast.entries = account(catalogue, plan, known.work, Task.foreseen, pseudonyms)
    aside = Counter(str(o.reason) for o in catalogue.set_aside)
    aside.update(str(o.reason) for task in plan for o in task.out_of_scope())
    forecast.set_aside = dict(aside)
    return due[: options.max_studies]


def _is_due(task: Task, known: Ledger, options: ScanOptions) -> bool:
    key = task.study.key
    return is_due(task, known.work(key), known.trouble(key), options.tools, options.rescan)


@contextmanager
def _knowing(options: ScanOptions) -> Iterator[tuple[Ledger | None, Ledger]]:
    """The ledger as a cache of headers, and one that agrees with the results: often the same.

    A dry run may go beside a scan, so that it makes what agrees in memory and leaves the file.
    """
    with ExitStack() as opened:
        ledger = None
        if options.ledger_path.exists():
            with suppress(DiskError):  # what it would tell, the results do
                ledger = Ledger(options.ledger_path, read_only=True)
                opened.callback(ledger.close)
        cache = None if options.paranoid else ledger
        if ledger is not None and ledger.meta("results") == stamp_of(options.out):
            yield cache, ledger
            return
        known = Ledger(None)
        opened.callback(known.close)
        agree(known, options)
        yield cache, known


def _seconds_a_slice(options: ScanOptions, todo: list[Task]) -> float:
    """Drawing and scoring a few slices of the largest stack, one after the other."""
    series, stack, detector = max(
        (entry for task in todo for entry in task.stacks), key=lambda e: len(e[1].frames)
    )
    scorer = load_scorers(options)[detector.digest]
    job = Job(
        stack,
        0,
        stack.frames[:SAMPLE],
        scorer.method.backbone.size,
        detector.window,
        series.modality,
        options.max_file_bytes,
    )
    drawing, drawn = _drawn(options, job)
    images = [d.image for d in drawn if isinstance(d, Slice)]
    if not images:
        return drawing
    list(scorer.add(0, images[0]))
    list(scorer.flush())  # the first batch pays for warming up
    started = time.monotonic()
    for image in [images[0]] * scorer.batch_size:
        list(scorer.add(0, image))
    scoring = (time.monotonic() - started) / scorer.batch_size
    return max(drawing, scoring)


def _drawn(options: ScanOptions, job: Job) -> tuple[float, Drawn]:
    """Seconds for drawing a slice with all workers, and the slices of a job."""
    first = replace(job, frames=job.frames[:1])
    jobs = decode(iter([first, job]), min(1, options.workers), options.file_timeout_s)
    next(jobs)  # pays for the worker's start
    started = time.monotonic()
    _, drawn = next(jobs)
    jobs.close()
    return (time.monotonic() - started) / len(job.frames) / max(1, options.workers), drawn
