"""What a scan would do, and about how long it would take."""

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
from medscan.archive import Pseudonyms, Series, Stack
from medscan.detector import Detector
from medscan.errors import DiskError
from medscan.imaging import Slice, Window
from medscan.options import Compute, Inputs, Outputs, Privacy, ScanOptions
from medscan.planning import (
    KEY_BYTES,
    FileEntry,
    Ledger,
    Task,
    account,
    check,
    is_due,
    pseudonym_key,
    reconcile,
    scan_pseudonyms,
    sort_tasks,
    stamp_of,
    survey_archive,
    walk,
)
from medscan.reading import DrawJob, Drawn, decode
from medscan.scoring import Scorer, loaded_scorers

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
    entries: list[FileEntry] = field(default_factory=list, repr=False)

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


def forecast_scan(options: ScanOptions) -> Forecast:
    """Plan a scan without scanning or writing anything.

    Raises
    ------
    medscan.errors.UsageError
        As `medscan.scan.scan`.
    """
    check(options)
    forecast = Forecast()
    tasks = _planned(options, forecast)
    for task in tasks:
        for _, stack, detector in task.stacks:
            counts = forecast.by_detector.setdefault(detector.name, {"stacks": 0, "slices": 0})
            counts["stacks"] += 1
            counts["slices"] += len(stack.frames)
            forecast.slices += len(stack.frames)
    seconds = seconds_a_slice(options.inputs, options.compute, tasks)
    forecast.seconds = round(seconds * forecast.slices, 1)
    return forecast


def forecast_pseudonyms(
    inputs: Inputs, privacy: Privacy, outputs: Outputs, fingerprint: str = ""
) -> Pseudonyms:
    """Those of the scan; without a key file made-up ones, since a forecast makes no file."""
    exists = fingerprint or outputs.key_path.exists()
    key = pseudonym_key(outputs, fingerprint) if exists else secrets.token_bytes(KEY_BYTES)
    return scan_pseudonyms(inputs, privacy, key)


def _planned(options: ScanOptions, forecast: Forecast) -> list[Task]:
    """The studies that are due; the forecast is told of every file found."""
    inputs, outputs, budget = options.inputs, options.outputs, options.budget
    with _ledgers(inputs, outputs) as (cache, ledger):
        old = results.open(outputs.out) if outputs.out.exists() else None
        fingerprint = old.run().key_fingerprint if old else ""
        pseudonyms = forecast_pseudonyms(inputs, options.privacy, outputs, fingerprint)
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
        due = [task for task in plan if _is_due(task, ledger, options)]
        due = sort_tasks(due, budget.order, ledger.work)
        forecast.studies, forecast.unchanged = len(plan), len(plan) - len(due)
        forecast.entries = account(
            surveyed.catalogue, plan, ledger.work, Task.expected_outcomes, pseudonyms
        )
    aside = Counter(str(o.reason) for o in surveyed.catalogue.set_aside)
    aside.update(str(o.reason) for task in plan for o in task.out_of_scope_outcomes())
    forecast.set_aside = dict(aside)
    return due[: budget.max_studies]


def _is_due(task: Task, ledger: Ledger, options: ScanOptions) -> bool:
    work, trouble = ledger.work(task.study.key), ledger.trouble(task.study.key)
    return is_due(task, work, trouble, options.inputs.tools, options.budget.rescan)


@contextmanager
def _ledgers(inputs: Inputs, outputs: Outputs) -> Iterator[tuple[Ledger | None, Ledger]]:
    """The ledger as a cache of headers, and one that agrees with the results: often the same.

    A dry run may go beside a scan, so that it makes the second in memory and leaves the file alone.
    """
    with ExitStack() as opened:
        ledger = None
        if outputs.ledger_path.exists():
            with suppress(DiskError):  # what it would tell, the results do
                ledger = Ledger(outputs.ledger_path, read_only=True)
                opened.callback(ledger.close)
        cache = None if inputs.paranoid else ledger
        if ledger is not None and ledger.meta("results") == stamp_of(outputs.out):
            yield cache, ledger
            return
        agreeing = Ledger(None)
        opened.callback(agreeing.close)
        reconcile(agreeing, outputs)
        yield cache, agreeing


def seconds_a_slice(inputs: Inputs, compute: Compute, tasks: Sequence[Task]) -> float:
    """Measured on a few slices of the largest stack; 0 where there is none to scan."""
    entries = (entry for task in tasks for entry in task.stacks)
    largest = max(entries, key=lambda entry: len(entry[1].frames), default=None)
    return 0.0 if largest is None else _measured(inputs, compute, *largest)


def _measured(
    inputs: Inputs, compute: Compute, series: Series, stack: Stack, detector: Detector
) -> float:
    """Drawing and scoring, one after the other."""
    with loaded_scorers(inputs.detectors, compute) as scorers:
        scorer = scorers[detector.digest]
        job = DrawJob(
            stack,
            0,
            stack.frames[:SAMPLE],
            scorer.method.backbone.size,
            detector.window,
            series.modality,
            inputs.max_file_bytes,
            window=Window(0.0, 1.0),  # any: the planes read to measure one are not read again
        )
        drawing, drawn = _drawn(inputs, compute, job)
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


def _drawn(inputs: Inputs, compute: Compute, job: DrawJob) -> tuple[float, Drawn]:
    """Seconds for drawing a slice with all workers, and the slices of a job."""
    first = replace(job, frames=job.frames[:1])
    jobs = decode(iter([first, job]), min(1, compute.workers), inputs.file_timeout_s)
    next(jobs)  # pays for the worker's start
    started = time.monotonic()
    _, drawn = next(jobs)
    jobs.close()
    return (time.monotonic() - started) / len(job.frames) / max(1, compute.workers), drawn
