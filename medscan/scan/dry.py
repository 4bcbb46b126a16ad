"""What a scan would do, and about how long it would take."""

from __future__ import annotations

import secrets
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medscan import results
from medscan.archive import Pseudonyms, Series, Stack
from medscan.detector import Detector
from medscan.errors import DiskError
from medscan.imaging import Slice, Window
from medscan.scan.accounting import Entry, account
from medscan.scan.decode import decode
from medscan.scan.draw import Drawn, Job
from medscan.scan.ledger import Ledger
from medscan.scan.load import catalogue_of, loaded_scorers, pseudonyms_of, walk
from medscan.scan.options import ScanOptions, check
from medscan.scan.plan import Task, by_content, by_time, is_due, make_plan, ordered
from medscan.scan.remains import agree, stamp_of
from medscan.scan.score import Scorer
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
    forecast.seconds = round(seconds_a_slice(options, todo) * forecast.slices, 1)
    return forecast


def foreseen_pseudonyms(options: ScanOptions, fingerprint: str = "") -> Pseudonyms:
    """Those of the scan; where there is no key file yet, others, for none is made."""
    there = fingerprint or options.key_path.exists()
    key = pseudonym_key(options, fingerprint) if there else secrets.token_bytes(BYTES)
    return pseudonyms_of(options, key)


def _planned(options: ScanOptions, forecast: Forecast) -> list[Task]:
    """What is not done; tells the forecast of every file found."""
    with _knowing(options) as (cache, known):
        fingerprint = (
            results.open(options.out).run().key_fingerprint if options.out.exists() else ""
        )
        pseudonyms = foreseen_pseudonyms(options, fingerprint)
        walked = walk(options)
        catalogue, arriving = catalogue_of(options, cache, pseudonyms, walked)
        catalogue, cut = listed(catalogue, walked.found, known.work, pseudonyms)
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


def seconds_a_slice(options: ScanOptions, todo: list[Task]) -> float:
    """Measured on a few slices of the largest stack; 0 where there is none to scan."""
    entries = (entry for task in todo for entry in task.stacks)
    largest = max(entries, key=lambda entry: len(entry[1].frames), default=None)
    return 0.0 if largest is None else _measured(options, *largest)


def _measured(options: ScanOptions, series: Series, stack: Stack, detector: Detector) -> float:
    """Drawing and scoring, one after the other."""
    with loaded_scorers(options) as scorers:
        scorer = scorers[detector.digest]
        job = Job(
            stack,
            0,
            stack.frames[:SAMPLE],
            scorer.method.backbone.size,
            detector.window,
            series.modality,
            options.max_file_bytes,
            window=Window(0.0, 1.0),  # any: the planes read to measure one are not read again
        )
        drawing, drawn = _drawn(options, job)
        images = [d.image for d in drawn if isinstance(d, Slice)]
        return max(drawing, _scoring(scorer, images[0])) if images else drawing


def _scoring(scorer: Scorer, image: NDArray[np.float32]) -> float:
    """Seconds for scoring a slice when all lanes are busy."""
    _score(scorer, image, 1)  # the first batch pays for warming up
    count = scorer.lanes.count * scorer.batch_size
    started = time.monotonic()
    _score(scorer, image, count)
    return (time.monotonic() - started) / count


def _score(scorer: Scorer, image: NDArray[np.float32], times: int) -> None:
    for _ in range(times):
        deque(scorer.add(0, image), maxlen=0)
    deque(scorer.flush(), maxlen=0)


def _drawn(options: ScanOptions, job: Job) -> tuple[float, Drawn]:
    """Seconds for drawing a slice with all workers, and the slices of a job."""
    first = replace(job, frames=job.frames[:1])
    jobs = decode(iter([first, job]), min(1, options.workers), options.file_timeout_s)
    next(jobs)  # pays for the worker's start
    started = time.monotonic()
    _, drawn = next(jobs)
    jobs.close()
    return (time.monotonic() - started) / len(job.frames) / max(1, options.workers), drawn
