"""Forecast what a scan would do, and about how long it would take."""

from __future__ import annotations

import secrets
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medscan import results
from medscan.archive import Bucket, Pseudonyms, Series, Stack
from medscan.detector import Detector
from medscan.errors import DiskError
from medscan.imaging import Slice, Window
from medscan.options import Compute, Inputs, Outputs, ScanOptions
from medscan.planning import (
    KEY_BYTES,
    FileEntry,
    Ledger,
    Task,
    account,
    check,
    due_tasks,
    pseudonym_key,
    reconcile,
    scan_pseudonyms,
    stamp_of,
    survey_archive,
    walk,
)
from medscan.reading import DrawJob, Drawn, decode
from medscan.scoring import Scorer, loaded_scorers

SAMPLE = 8
"""Slices that are drawn to measure the time of one."""


@dataclass(slots=True)
class Forecast:
    """Result of a dry run; `seconds` is an estimate from a few slices."""

    studies: int = 0
    unchanged: int = 0
    slices: int = 0
    by_detector: dict[str, dict[str, int]] = field(default_factory=dict)
    arriving: int = 0
    files: dict[str, int] = field(default_factory=dict)
    """Every file found, by bucket: of studies that are due, as if nothing went wrong."""
    set_aside: dict[str, int] = field(default_factory=dict)
    """Every file that is not in the first bucket, by reason."""
    seconds: float = 0.0
    entries: list[FileEntry] = field(default_factory=list, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return all fields but the entries, for JSON."""
        names = [f.name for f in fields(self) if f.name != "entries"]
        return {name: getattr(self, name) for name in names}

    def text(self) -> str:
        """Return the forecast for a terminal, with a line for each detector and each reason."""
        lines = [f"{self.studies} studies found, {self.unchanged} of them unchanged"]
        if self.arriving:
            lines.append(f"{self.arriving} more are still arriving")
        for name, due in sorted(self.by_detector.items()):
            lines.append(f"  {name}: {due['stacks']} stacks, {due['slices']} slices")
        counts = ", ".join(f"{count} {bucket}" for bucket, count in self.files.items())
        lines.append(f"{sum(self.files.values())} files found: {counts}")
        lines += [f"  not scanned: {n} {reason}" for reason, n in sorted(self.set_aside.items())]
        minutes, seconds = divmod(round(self.seconds), 60)
        lines.append(f"{self.slices} slices to score: about {minutes} min {seconds} s")
        return "\n".join(lines)


def forecast_scan(options: ScanOptions) -> Forecast:
    """Plan a scan without scanning or writing anything.

    Raises
    ------
    medscan.errors.UsageError
        As `medscan.scanning.scan`.
    """
    check(options)
    forecast = Forecast()
    tasks = _due_tasks(options, forecast)
    for task in tasks:
        for _, stack, detector in task.stacks:
            counts = forecast.by_detector.setdefault(detector.name, {"stacks": 0, "slices": 0})
            counts["stacks"] += 1
            counts["slices"] += len(stack.frames)
            forecast.slices += len(stack.frames)
    seconds = seconds_per_slice(options.inputs, options.compute, tasks)
    forecast.seconds = round(seconds * forecast.slices, 1)
    return forecast


def forecast_pseudonyms(options: ScanOptions, fingerprint: str = "") -> Pseudonyms:
    """Return the scan's pseudonyms, or random ones if there is no key file: none is created."""
    exists = fingerprint or options.outputs.key_path.exists()
    key = pseudonym_key(options.outputs, fingerprint) if exists else secrets.token_bytes(KEY_BYTES)
    return scan_pseudonyms(options.inputs, options.privacy, key)


def _due_tasks(options: ScanOptions, forecast: Forecast) -> list[Task]:
    """Return the studies that are due, and fill in the forecast's counts and entries."""
    inputs, outputs = options.inputs, options.outputs
    with ledgers(inputs, outputs) as (cache, ledger):
        old = results.readable(outputs.out)
        fingerprint = old.run().key_fingerprint if old else ""
        pseudonyms = forecast_pseudonyms(options, fingerprint)
        surveyed = survey_archive(
            inputs,
            pseudonyms,
            options.identity,
            walked=walk(inputs, outputs),
            cache=cache,
            find_work=ledger.work,
            workers=options.compute.workers,
        )
        plan, forecast.arriving = surveyed.plan, surveyed.arriving
        due = due_tasks(plan, ledger, options)
        forecast.studies, forecast.unchanged = len(plan), len(plan) - len(due)
        forecast.entries = account(
            surveyed.catalogue, plan, ledger.work, Task.expected_outcomes, pseudonyms
        )
    buckets = Counter(entry.bucket for entry in forecast.entries)
    forecast.files = {str(bucket): buckets[bucket] for bucket in Bucket}
    aside = (entry for entry in forecast.entries if entry.bucket is not Bucket.SCANNED)
    forecast.set_aside = dict(Counter(str(entry.outcome.reason) for entry in aside))
    return due[: options.budget.max_studies]


@contextmanager
def ledgers(inputs: Inputs, outputs: Outputs) -> Iterator[tuple[Ledger | None, Ledger]]:
    """Yield the ledger to cache headers, and one that agrees with the results: often the same.

    A scan may be running at the same time: the ledger file is not changed. If it does not agree
    with the results, another ledger is made in memory.
    """
    with ExitStack() as opened:
        ledger = None
        if outputs.ledger_path.exists():
            with suppress(DiskError):  # the results say the same, only more slowly
                ledger = Ledger(outputs.ledger_path, read_only=True)
                opened.callback(ledger.close)
        cache = None if inputs.paranoid else ledger
        if ledger is not None and ledger.meta("results") == stamp_of(outputs.out):
            yield cache, ledger
            return
        reconciled = Ledger(None)
        opened.callback(reconciled.close)
        reconcile(reconciled, outputs)
        yield cache, reconciled


def seconds_per_slice(inputs: Inputs, compute: Compute, tasks: Sequence[Task]) -> float:
    """Measure the time per slice on a few slices of the largest stack; 0 if there is no stack."""
    entries = (entry for task in tasks for entry in task.stacks)
    largest = max(entries, key=lambda entry: len(entry[1].frames), default=None)
    return 0.0 if largest is None else _measure(inputs, compute, *largest)


def _measure(
    inputs: Inputs, compute: Compute, series: Series, stack: Stack, detector: Detector
) -> float:
    """Return the larger of the times per slice for drawing and for scoring: the two overlap."""
    with loaded_scorers(inputs.detectors, compute) as scorers:
        scorer = scorers[detector.digest]
        job = DrawJob(
            stack,
            0,
            stack.frames[:SAMPLE],
            scorer.model.square.size,
            detector.window,
            series.modality,
            inputs.max_file_bytes,
            window=Window(0.0, 1.0),  # any window: drawing then reads each plane, as a scan does
        )
        drawing, drawn = _drawing_seconds(inputs, compute, job)
        images = [d.image for d in drawn if isinstance(d, Slice)]
        return max(drawing, _scoring_seconds(scorer, images[0])) if images else drawing


def _scoring_seconds(scorer: Scorer, image: NDArray[np.float32]) -> float:
    """Return the seconds for scoring a slice when all lanes are busy."""
    _score(scorer, image, 1)  # the first batch is slower: it is not measured
    count = scorer.lanes.count * scorer.batch_size
    started = time.monotonic()
    _score(scorer, image, count)
    return (time.monotonic() - started) / count


def _score(scorer: Scorer, image: NDArray[np.float32], times: int) -> None:
    for _ in range(times):
        deque(scorer.add(0, image), maxlen=0)
    deque(scorer.flush(), maxlen=0)


def _drawing_seconds(inputs: Inputs, compute: Compute, job: DrawJob) -> tuple[float, Drawn]:
    """Return the seconds for drawing a slice with all workers, and the slices of the job."""
    first = replace(job, frames=job.frames[:1])
    jobs = decode(iter([first, job]), 1, inputs.file_timeout_s)
    next(jobs)  # the first job includes the worker's start: it is not measured
    started = time.monotonic()
    _, drawn = next(jobs)
    jobs.close()
    return (time.monotonic() - started) / len(job.frames) / max(1, compute.workers), drawn
