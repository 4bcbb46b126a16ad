"""What runs on the nodes of a Ray cluster: scanners, which hold the model, and decode tasks.

A scanner runs the pipeline of a local scan, except that tasks in other processes draw its slices.
It writes part files to a file system that all nodes share, and sends small messages to the driver.
"""

from __future__ import annotations

import copy
import logging
import signal
import socket
import tempfile
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from medscan import detector as detectors
from medscan.archive import Pseudonyms
from medscan.detector import Detector
from medscan.errors import DecoderError, MedscanError, UsageError
from medscan.imaging import Window
from medscan.options import ScanOptions
from medscan.planning import Task
from medscan.reading import WINDOWS_KEPT, Decoders, DrawJob, Drawn, decode
from medscan.results import StudyResult
from medscan.runtimes import Square
from medscan.scanning import (
    FinishedStudy,
    Pipeline,
    Room,
    Stop,
    Watchdog,
    finish_study,
    has_entries,
    recall,
)
from medscan.scoring import Scorer, loaded_scorers

RETRIES = 3
"""Times that Ray repeats a decode task whose process or node was lost."""
VISIBLE_S = 10.0
"""Longest time until a network file system shows on one node what another node has written."""
MARK = ".mark.part"
"""File in the folder of the parts that shows scanners that it is the driver's folder."""

Message = FinishedStudy | logging.LogRecord | int | str
"""Message of a scanner: a finished study, a line for the log, how many slices of its lot repeat
another, or why it has stopped."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a scanner works with.

    Parameters
    ----------
    options : ScanOptions
        Paths are absolute, since each node has its own working directory.
    pseudonyms : Pseudonyms
    files : list of ray.ObjectRef
        Bytes of the detector files, in the order of `options.inputs.detectors`.
    mark : str
        Content of the file `MARK`.
    tools : str
        See `Inputs.tools`; equal on all nodes, or results would depend on the node.
    cpus : int
        Cores for the model.
    """

    options: ScanOptions
    pseudonyms: Pseudonyms
    files: list[Any]
    mark: str
    tools: str
    cpus: int


class Scanner:
    """An actor that holds the detectors on a device and scans the lots that it is given.

    Only bugs of medscan are raised to the driver. Errors raised on purpose are returned instead,
    because Ray would log them, and they may name paths.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup, self.options = setup, setup.options
        self.stop, self.log = Stop(), _LogCollector()
        self.placement = PlacementGroupSchedulingStrategy(get_current_placement_group())
        self.loaded = ExitStack()

    def load(self) -> dict[str, Square] | MedscanError:
        """Load the detectors; return the squares of each, by hash, or why it cannot scan."""
        try:
            self._check_node()
            with tempfile.TemporaryDirectory() as folder:
                copied = self._copy_detectors(Path(folder))
                compute, cores = self.options.compute, self.setup.cpus
                loading = loaded_scorers(copied, compute, cores=cores)
                self.scorers = self.loaded.enter_context(loading)
        except MedscanError as error:
            return type(error)(f"{error} (node {socket.gethostname()})")
        self.room = Room(self.options.outputs, self.scorers)
        return self.room.squares

    def _check_node(self) -> None:
        """Raise UsageError if this node does not see the same files, or has other versions."""
        inputs, parts = self.options.inputs, self.options.outputs.parts
        if inputs.tools != self.setup.tools:
            raise UsageError(f"this node has {inputs.tools}, the driver's {self.setup.tools}")
        if not becomes_visible(parts / MARK, self.setup.mark):
            raise UsageError(
                f"{parts} is not the driver's: --engine ray needs --out on a file system "
                "that all nodes share"
            )
        gone = [root for root in inputs.roots if not (root.is_file() or has_entries(root))]
        if gone:
            raise UsageError(f"{gone[0]} is not there; mount it on all nodes")

    def _copy_detectors(self, folder: Path) -> list[tuple[Path, Detector]]:
        """Write the detector files to this node, and check that they arrived intact."""
        copies = []
        pairs = zip(self.options.inputs.detectors, ray.get(self.setup.files), strict=True)
        for number, ((path, detector), data) in enumerate(pairs):
            (folder / str(number)).mkdir()
            copy = folder / str(number) / path.name
            copy.write_bytes(data)
            copies.append((copy, _verify(copy, detector)))
        return copies

    def scan(self, tasks: Sequence[Task]) -> Iterator[Message]:
        """Scan studies, and yield each as soon as its part is written.

        The pipeline calls back and this is a generator: a thread runs the pipeline, and a queue
        brings its messages here. None marks their end, also after an error.
        """
        messages: SimpleQueue[Message | None] = SimpleQueue()
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(self._run, tasks, messages)
            running.add_done_callback(lambda _: messages.put(None))
            while (item := messages.get()) is not None:
                yield item
            running.result()
        yield from self.log.drain()
        if self.stop.failure:
            yield f"{self.stop.failure} (node {socket.gethostname()})"

    def _run(self, tasks: Sequence[Task], messages: SimpleQueue[Message | None]) -> None:
        def keep(study: StudyResult, decoder_failure: str) -> None:
            messages.put(finish_study(self.options.outputs.parts, study, decoder_failure))

        scorers = {digest: _share_model(scorer) for digest, scorer in self.scorers.items()}
        inputs, workers = self.options.inputs, self.options.compute.workers
        here = partial(decode, workers=1, file_timeout_s=inputs.file_timeout_s)
        draw = self._draw if workers else here
        pipeline = Pipeline(
            inputs,
            self.options.privacy,
            self.setup.pseudonyms,
            scorers,
            self.room,
            self.stop,
            Watchdog(),
            draw,
            keep,
            recall=partial(recall, outputs=self.options.outputs, privacy=self.options.privacy),
        )
        pipeline.run(tasks)
        messages.put(sum(scorer.repeated for scorer in scorers.values()))

    def finish_early(self) -> None:
        """Begin no further study; those begun get a few seconds more."""
        self.stop.receive(signal.SIGTERM)

    def _draw(self, jobs: Iterable[DrawJob]) -> Generator[tuple[DrawJob, Drawn], None, None]:
        """Draw jobs in tasks, in their order, a bounded number ahead."""
        windows: OrderedDict[object, Window] = OrderedDict()
        submitted: deque[tuple[DrawJob, Any]] = deque()
        for job in jobs:
            job = replace(job, window=windows.get(job.window_key))
            submitted.append((job, self._submit(job)))
            if len(submitted) > 2 * self.options.compute.workers:
                yield _receive(*submitted.popleft(), windows)
        while submitted:
            yield _receive(*submitted.popleft(), windows)

    def _submit(self, job: DrawJob) -> Any:
        task = ray.remote(draw_in_task).options(
            name="decode", num_cpus=1, max_retries=RETRIES, scheduling_strategy=self.placement
        )
        return task.remote(job, self.options.inputs.file_timeout_s)


def _verify(path: Path, detector: Detector) -> Detector:
    """Return the detector if the file has its hash, else raise UsageError."""
    if detectors.read(path).digest != detector.digest:
        raise UsageError(f"detector {detector.name} has changed since the scan began")
    return detector


def _share_model(scorer: Scorer) -> Scorer:
    """Return a scorer with batches of its own, on the same model and lanes.

    The lots of a scanner are scored at the same time.
    """
    return Scorer(scorer.detector, scorer.model, scorer.batch_size, scorer.lanes)


def _receive(job: DrawJob, ref: Any, windows: OrderedDict[object, Window]) -> tuple[DrawJob, Drawn]:
    """Return a job with its slices, in this process's memory; if its task is lost, they fail."""
    try:
        drawn, window = ray.get(ref)
    except RayTaskError:  # raised by the task's code: a bug of medscan
        raise
    except RayError as error:
        why = f"the process or node that decoded it was lost ({type(error).__name__})"
        return job, [DecoderError(why)] * len(job.frames)
    if window is not None:
        windows[job.window_key] = window
        if len(windows) > WINDOWS_KEPT:
            windows.popitem(last=False)
    return job, [_copy_out(item) for item in drawn]


def _copy_out(item: Any) -> Any:
    """Copy a slice out of Ray's shared memory, which is released then."""
    return item if isinstance(item, Exception) else replace(item, image=item.image.copy())


def draw_in_task(job: DrawJob, file_timeout_s: float) -> tuple[Drawn, Window | None]:
    """Draw a job in a Ray task; the decoder is a process of its own, which may die."""
    decoders = _decoders(file_timeout_s)
    ((_, drawn),) = decoders.draw([job])
    return drawn, decoders.windows.get(job.window_key)


@cache
def _decoders(file_timeout_s: float) -> Decoders:
    _LogCollector()
    return Decoders(1, file_timeout_s)


def becomes_visible(path: Path, content: str = "") -> bool:
    """Whether a file that another node wrote can be seen here; wait for it if need be."""
    until = time.monotonic() + VISIBLE_S
    while not _is_visible(path, content):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def _is_visible(path: Path, content: str) -> bool:
    try:
        return path.is_file() and (not content or path.read_text("utf-8") == content)
    except OSError:
        return False


class _LogCollector(logging.Handler):
    """Collects what this process logs, for the driver: nodes write no log of their own."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: deque[logging.LogRecord] = deque(maxlen=100)
        log = logging.getLogger("medscan")
        log.handlers, log.propagate = [self], False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record without the message of its exception, which may quote a file."""
        safe = copy.copy(record)
        safe.msg, safe.args = record.getMessage(), None
        if record.exc_info and record.exc_info[0] is not None:
            line = traceback.extract_tb(record.exc_info[2])[-1]
            kind = record.exc_info[0].__name__
            safe.msg += f" ({kind} at {Path(line.filename).name}:{line.lineno})"
        safe.exc_info = safe.exc_text = None
        self.records.append(safe)

    def drain(self) -> Iterator[logging.LogRecord]:
        """Yield and remove the records collected so far."""
        while self.records:
            yield self.records.popleft()
