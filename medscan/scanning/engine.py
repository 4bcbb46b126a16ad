"""The engine that scans studies: a protocol, and its implementation on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from medscan.archive import Pseudonyms
from medscan.errors import DeviceError
from medscan.files import make_folder
from medscan.options import ScanOptions
from medscan.planning import Task
from medscan.profile import Clock, Profile, profile_of
from medscan.reading import Decoders
from medscan.results import StudyResult
from medscan.scanning.disk import Room
from medscan.scanning.guard import Stop, StoppedError, Watchdog
from medscan.scanning.kept import recall
from medscan.scanning.part import FinishedStudy, finish_study
from medscan.scanning.pipeline import Pipeline, Watch
from medscan.scoring import Scorer, loaded_scorers


@dataclass(slots=True)
class Tally:
    """Numbers of studies and slices that an engine has finished; valid even after an error.

    Of the slices, `repeated` have the pixels of another, which alone was scored.
    """

    done: int = 0
    slices: int = 0
    repeated: int = 0
    notes: list[str] = field(default_factory=list)
    profile: Profile = field(default_factory=Profile)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Everything that an engine needs in addition to the studies.

    Parameters
    ----------
    options : ScanOptions
    pseudonyms : Pseudonyms
    stop : Stop
        Ends the scan early; the engine records in it a failure that ends the scan.
    watchdog : Watchdog
    note : callable
        Called with each study whose part file has been written.
    watch : callable or None
        See `Watch`.
    failed : int
        Files that failed before any study was scanned.
    tally : Tally
        Kept up to date by the engine.
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
    """Scans studies and writes a part file for each.

    At one batch size, all engines write the same bytes.
    """

    def scan(self, tasks: Sequence[Task], assignment: Assignment) -> None:
        """Scan studies until all are done or the assignment's `stop` is set."""
        ...


class LocalEngine:
    """Decode processes, the model and the pipeline of this machine."""

    def scan(self, tasks: Sequence[Task], assignment: Assignment) -> None:
        """Scan studies; the decode processes start while the model is loaded."""
        inputs, compute, clock = assignment.options.inputs, assignment.options.compute, Clock()
        stop = assignment.stop
        with Decoders(
            compute.workers, inputs.file_timeout_s, clock, stop.check_overdue
        ) as decoders:
            try:
                self._run(tasks, assignment, decoders, clock)
            except DeviceError as error:
                stop.failure = str(error)

    def _run(
        self, tasks: Sequence[Task], assignment: Assignment, decoders: Decoders, clock: Clock
    ) -> None:
        options, tally, stop = assignment.options, assignment.tally, assignment.stop
        parts = options.outputs.parts

        def keep(study: StudyResult, decoder_failure: str) -> None:
            finished = finish_study(parts, study, decoder_failure)
            assignment.note(finished)
            tally.slices += finished.slices  # not those of studies that a signal leaves unfinished

        # Without a stack to score no model is loaded: a night without new images stays fast.
        used = {detector.digest for task in tasks for _, _, detector in task.stacks}
        detectors = [pair for pair in options.inputs.detectors if pair[1].digest in used]
        loading = loaded_scorers(detectors, options.compute, clock, stop.check_overdue)
        no_scorers = nullcontext(dict[str, Scorer]())
        with ExitStack() as loaded, suppress(StoppedError):
            with stop.immediate():
                needed = loading if used else no_scorers
                scorers = loaded.enter_context(needed)
            make_folder(parts)
            pipeline = Pipeline(
                options.inputs,
                options.privacy,
                assignment.pseudonyms,
                scorers,
                Room(options.outputs, scorers),
                stop,
                assignment.watchdog,
                decoders.draw,
                keep,
                assignment.watch,
                partial(recall, outputs=options.outputs, privacy=options.privacy),
            )
            pipeline.failed = assignment.failed
            started = time.perf_counter()
            pipeline.run(tasks)
            spent = time.perf_counter() - started
            lanes = next((scorer.lanes.count for scorer in scorers.values()), 1)
            tally.profile = profile_of(clock, spent, options.compute.workers, lanes)
            tally.done = pipeline.done
            tally.repeated = sum(scorer.repeated for scorer in scorers.values())
