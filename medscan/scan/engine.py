"""What scans studies: this machine here, or whatever else keeps the same promise."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from medscan.archive import Pseudonyms
from medscan.errors import DeviceError
from medscan.files import make_folder
from medscan.options import ScanOptions
from medscan.planning import Task
from medscan.profile import Clock, Profile, profile_of
from medscan.reading import Decoders
from medscan.results import StudyResult
from medscan.scan.disk import Room
from medscan.scan.guard import Stop, Watchdog
from medscan.scan.part import FinishedStudy, finish_study
from medscan.scan.pipeline import Pipeline, Watch
from medscan.scoring import Scorer, loaded_scorers


@dataclass(slots=True)
class Tally:
    """What an engine has done by now; kept up to date even if it ends with an error."""

    done: int = 0
    slices: int = 0
    notes: list[str] = field(default_factory=list)
    profile: Profile = field(default_factory=Profile)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What an engine is given beside the studies.

    Parameters
    ----------
    options : ScanOptions
    pseudonyms : Pseudonyms
    stop : Stop
        Takes effect between studies; what ends the scan early is noted in it.
    watchdog : Watchdog
    note : callable
        Is given each study whose part file has been written.
    watch : callable or None
    failed : int
        Files that failed before any study was scanned.
    tally : Tally
    """

    options: ScanOptions
    pseudonyms: Pseudonyms
    stop: Stop
    watchdog: Watchdog
    note: Callable[[FinishedStudy], None]
    watch: Watch | None = None
    failed: int = 0
    tally: Tally = field(default_factory=Tally)


class Engine(Protocol):
    """Scans studies and writes a part file for each, at one batch size with the same bytes."""

    def scan(self, tasks: Sequence[Task], assignment: Assignment) -> None:
        """Scan studies until there are no more or the assignment's `stop` says so."""
        ...


class LocalEngine:
    """Decode processes, the model and the pipeline of this machine."""

    def scan(self, tasks: Sequence[Task], assignment: Assignment) -> None:
        """Scan studies; the decode processes start while the model is loaded."""
        inputs, compute, clock = assignment.options.inputs, assignment.options.compute, Clock()
        with Decoders(compute.workers, inputs.file_timeout_s, clock) as decoders:
            try:
                self._run(tasks, assignment, decoders, clock)
            except DeviceError as error:
                assignment.stop.failure = str(error)

    def _run(
        self, tasks: Sequence[Task], assignment: Assignment, decoders: Decoders, clock: Clock
    ) -> None:
        options, tally = assignment.options, assignment.tally
        parts = options.outputs.parts

        def keep(study: StudyResult, died: str) -> None:
            assignment.note(finish_study(parts, study, died))

        # Studies out of scope need no model: a night without images stays fast.
        loading = loaded_scorers(options.inputs.detectors, options.compute, clock)
        unneeded = nullcontext(dict[str, Scorer]())
        with loading if any(task.stacks for task in tasks) else unneeded as scorers:
            make_folder(parts)
            pipeline = Pipeline(
                options.inputs,
                options.privacy,
                assignment.pseudonyms,
                scorers,
                Room(options.outputs, scorers),
                assignment.stop,
                assignment.watchdog,
                decoders.draw,
                keep,
                assignment.watch,
            )
            pipeline.failed = assignment.failed
            started = time.perf_counter()
            pipeline.run(tasks)
            spent = time.perf_counter() - started
            lanes = next((scorer.lanes.count for scorer in scorers.values()), 1)
            tally.profile = profile_of(clock, spent, options.compute.workers, lanes)
        tally.done, tally.slices = pipeline.done, pipeline.slices
