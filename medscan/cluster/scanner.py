"""What runs on the nodes of a Ray cluster: scanners, which hold the model, and tasks that decode.

A scanner runs the pipeline of a local scan; only its slices are drawn by tasks elsewhere, and what
it writes are part files on a file system that all nodes share. What it tells the driver is small.
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
from functools import cache
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
from medscan.reading import WINDOWS_KEPT, Decoders, DrawJob, Drawn
from medscan.results import StudyResult
from medscan.scan import (
    FinishedStudy,
    Pipeline,
    Room,
    Square,
    Stop,
    Watchdog,
    finish_study,
    is_there,
)
from medscan.scoring import Scorer, loaded_scorers

RETRIES = 3
"""Times that Ray runs a decode task again whose process or node was lost."""
SEEN_S = 10.0
"""Longest time until a network file system shows on one node what another has written."""
MARK = ".mark.part"
"""File in the folder of the parts by which scanners see that it is the driver's."""

Told = FinishedStudy | logging.LogRecord | str
"""What a scanner tells: a study is done, a line for the log, or why it goes on no further."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a scanner is to work with.

    Parameters
    ----------
    options : ScanOptions
        Paths are absolute: nodes have folders of their own to start in.
    pseudonyms : Pseudonyms
    files : list of ray.ObjectRef
        Bytes of the detector files, in the order of `options.inputs.detectors`.
    mark : str
        Content of the file `MARK`.
    tools : str
        See `Inputs.tools`: the same on all nodes, or results would depend on the node.
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
    """An actor that holds the detectors on a device and scans what it is given.

    Nothing is raised to the driver but mistakes of medscan's own: Ray would log what it says.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup, self.options = setup, setup.options
        self.stop, self.log = Stop(), _Collected()
        self.near = PlacementGroupSchedulingStrategy(get_current_placement_group())
        self.loaded = ExitStack()

    def load(self) -> dict[str, Square] | MedscanError:
        """Get ready: the sides of each detector's pictures and maps, or why it cannot scan."""
        import torch

        torch.set_num_threads(self.setup.cpus)
        try:
            self._look()
            with tempfile.TemporaryDirectory() as folder:
                copied = self._copied(Path(folder))
                loading = loaded_scorers(copied, self.options.compute)
                self.scorers = self.loaded.enter_context(loading)
        except MedscanError as error:
            return type(error)(f"{error} (node {socket.gethostname()})")
        self.room = Room(self.options.outputs, self.scorers)
        return self.room.squares

    def _look(self) -> None:
        """Raise UsageError if this node does not see the same files, or has other programs."""
        inputs, parts = self.options.inputs, self.options.outputs.parts
        if inputs.tools != self.setup.tools:
            raise UsageError(f"this node has {inputs.tools}, the driver's {self.setup.tools}")
        if not appears(parts / MARK, self.setup.mark):
            raise UsageError(
                f"{parts} is not the driver's: --engine ray needs --out on a file system "
                "that all nodes share"
            )
        gone = [root for root in inputs.roots if not (root.is_file() or is_there(root))]
        if gone:
            raise UsageError(f"{gone[0]} is not there; mount it on all nodes")

    def _copied(self, folder: Path) -> list[tuple[Path, Detector]]:
        """The detectors, with files that lie on this node."""
        copies = []
        pairs = zip(self.options.inputs.detectors, ray.get(self.setup.files), strict=True)
        for number, ((path, detector), data) in enumerate(pairs):
            (folder / str(number)).mkdir()
            copy = folder / str(number) / path.name
            copy.write_bytes(data)
            copies.append((copy, _verified(copy, detector)))
        return copies

    def scan(self, tasks: Sequence[Task]) -> Iterator[Told]:
        """Scan studies, and tell of each as soon as its part is written."""
        told: SimpleQueue[Told | None] = SimpleQueue()
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(self._run, tasks, told)
            running.add_done_callback(lambda _: told.put(None))
            while (item := told.get()) is not None:
                yield item
            running.result()
        yield from self.log.taken()
        if self.stop.failure:
            yield f"{self.stop.failure} (node {socket.gethostname()})"

    def _run(self, tasks: Sequence[Task], told: SimpleQueue[Told | None]) -> None:
        def keep(study: StudyResult, died: str) -> None:
            told.put(finish_study(self.options.outputs.parts, study, died))

        scorers = {digest: _another(scorer) for digest, scorer in self.scorers.items()}
        inputs, workers = self.options.inputs, self.options.compute.workers
        draw = self._draw if workers else Decoders(0, inputs.file_timeout_s).draw
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
        )
        pipeline.run(tasks)

    def end(self) -> None:
        """Begin no further study."""
        self.stop.signal = signal.SIGTERM

    def _draw(self, jobs: Iterable[DrawJob]) -> Generator[tuple[DrawJob, Drawn], None, None]:
        """Draw jobs by tasks, in their order, a bounded number ahead."""
        windows: OrderedDict[object, Window] = OrderedDict()
        under_way: deque[tuple[DrawJob, Any]] = deque()
        for job in jobs:
            job = replace(job, window=windows.get(job.window_key))
            under_way.append((job, self._submitted(job)))
            if len(under_way) > 2 * self.options.compute.workers:
                yield _received(*under_way.popleft(), windows)
        while under_way:
            yield _received(*under_way.popleft(), windows)

    def _submitted(self, job: DrawJob) -> Any:
        task = ray.remote(drawn).options(
            name="decode", num_cpus=1, max_retries=RETRIES, scheduling_strategy=self.near
        )
        return task.remote(job, self.options.inputs.file_timeout_s)


def _verified(path: Path, detector: Detector) -> Detector:
    """The detector, once its file is known to have come over whole."""
    if detectors.read(path).digest != detector.digest:
        raise UsageError(f"detector {detector.name} has changed since the scan began")
    return detector


def _another(scorer: Scorer) -> Scorer:
    """A scorer with batches of its own, on the same model and lanes."""
    return Scorer(scorer.detector, scorer.method, scorer.batch_size, scorer.lanes)


def _received(
    job: DrawJob, ref: Any, windows: OrderedDict[object, Window]
) -> tuple[DrawJob, Drawn]:
    """A job and its slices, in memory of this process; its frames fail with its task."""
    try:
        found, window = ray.get(ref)
    except RayTaskError:
        raise
    except RayError as error:
        why = f"the process or node that decoded it was lost ({type(error).__name__})"
        return job, [DecoderError(why)] * len(job.frames)
    if window is not None:
        windows[job.window_key] = window
        if len(windows) > WINDOWS_KEPT:
            windows.popitem(last=False)
    return job, [_own(item) for item in found]


def _own(item: Any) -> Any:
    """A slice that keeps no memory of Ray's, which is free again then."""
    return item if isinstance(item, Exception) else replace(item, image=item.image.copy())


def drawn(job: DrawJob, file_timeout_s: float) -> tuple[Drawn, Window | None]:
    """Draw a job: a task. Its process keeps a decoder of its own, which may die of it."""
    decoders = _decoders(file_timeout_s)
    ((_, found),) = decoders.draw([job])
    return found, decoders.windows.get(job.window_key)


@cache
def _decoders(file_timeout_s: float) -> Decoders:
    _Collected()
    return Decoders(1, file_timeout_s)


def appears(path: Path, content: str = "") -> bool:
    """Whether a file that another node wrote can be seen here, if not at once then soon."""
    until = time.monotonic() + SEEN_S
    while not _is_seen(path, content):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def _is_seen(path: Path, content: str) -> bool:
    try:
        return path.is_file() and (not content or path.read_text("utf-8") == content)
    except OSError:
        return False


class _Collected(logging.Handler):
    """Collects what this process logs for the driver: on the nodes nothing is written."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: deque[logging.LogRecord] = deque(maxlen=100)
        log = logging.getLogger("medscan")
        log.handlers, log.propagate = [self], False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it without what an exception says, which may quote a file."""
        kept = copy.copy(record)
        kept.msg, kept.args = record.getMessage(), None
        if record.exc_info and record.exc_info[0] is not None:
            place = traceback.extract_tb(record.exc_info[2])[-1]
            kind = record.exc_info[0].__name__
            kept.msg += f" ({kind} at {Path(place.filename).name}:{place.lineno})"
        kept.exc_info = kept.exc_text = None
        self.records.append(kept)

    def taken(self) -> Iterator[logging.LogRecord]:
        """What there is, once."""
        while self.records:
            yield self.records.popleft()
