"""A scan on a Ray cluster, seen from its driver: studies are given out, and noted when done.

The driver holds no pixel: scanners, see `medscan.cluster.scanner`, write the part files.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from medscan.archive import Reason
from medscan.cluster.nodes import HANDS, Seat, broken, connected, has_gpus, needs
from medscan.cluster.scanner import MARK, Setup, appears
from medscan.errors import ClusterError, DeviceError, DiskError, LedgerError, MedscanError
from medscan.files import make_folder, remove, replacing
from medscan.options import ScanOptions
from medscan.planning import Task
from medscan.results import Work
from medscan.scan import Assignment, FinishedStudy, Room, Square, finish_study
from medscan.scoring import study_result

log = logging.getLogger("medscan.scan")

ATTEMPTS = 3
"""Scanners that a study may be lost with before it is given up."""
LOT = 512
"""Slices, about, that are given to a scanner together."""
JOIN_S = 60.0
"""Longest time for nodes to join that have room for a scanner."""
START_S = 900.0
"""Longest time for any scanner to be ready."""
LOOK_S = 1.0
"""Seconds between looks at what sends no word: signals, and nodes that come and go."""


class Driver:
    """Has studies scanned on a cluster, a bounded number at a time; used as a `Pipeline` is.

    Parameters
    ----------
    address : str or None
        Of the cluster; see `medscan.cluster.nodes.connected`.
    assignment : Assignment
    """

    def __init__(self, address: str | None, assignment: Assignment) -> None:
        self.address, self.options = address, assignment.options
        self.pseudonyms, self.stop = assignment.pseudonyms, assignment.stop
        self.watchdog, self.watch = assignment.watchdog, assignment.watch
        self.note, self.tally = assignment.note, assignment.tally
        self.asked, self.failed = 0, assignment.failed
        self.seats: list[Seat] = []
        self.suspects: deque[Task] = deque()
        self.attempts: Counter[str] = Counter()
        self.unborn, self.ended = 0, False
        self.room: Room | None = None

    def run(self, tasks: Sequence[Task]) -> None:
        """Scan studies until there are no more or something stops it; `stop` says what.

        Raises
        ------
        ClusterError
            There is no cluster, or none of its nodes can scan.
        medscan.errors.UsageError
            A node does not see the same files, has other programs or lacks the weights.
        """
        self.asked, self.left = len(tasks), deque(tasks)
        self.weight = sum(map(_slices, tasks))
        try:
            with connected(self.address), _marked(self.options.outputs.parts) as mark:
                self._run(mark)
        except LedgerError:
            raise
        except (DeviceError, DiskError) as error:
            self.stop.failure = str(error)

    def _run(self, mark: str) -> None:
        setup, self.looked, self.alive = self._setup(mark), 0.0, time.monotonic()
        try:
            while self._is_busy() or (self._is_left() and not self.stop):
                if time.monotonic() - self.looked > LOOK_S or (self.stop and not self.ended):
                    self._look(setup)
                self._give()
                self._listen()
        finally:
            for seat in self.seats:
                seat.leave()

    def _setup(self, mark: str) -> Setup:
        """What every scanner needs to know; the bytes of the detectors go to the object store."""
        options = self.options
        files = [ray.put(path.read_bytes()) for path, _ in options.inputs.detectors]
        device = "cuda" if options.compute.device != "cpu" else "cpu"
        if options.compute.device == "auto" and not has_gpus():
            device = "cpu"
        there = replace(
            options,
            outputs=replace(options.outputs, out=options.outputs.out.absolute()),
            compute=replace(options.compute, device=device),
        )
        return Setup(there, self.pseudonyms, files, mark, options.inputs.tools, cpus=1)

    def _is_busy(self) -> bool:
        return any(seat.lots for seat in self.seats)

    def _is_left(self) -> bool:
        return bool(self.left or self.suspects)

    # --- scanners ------------------------------------------------------------------------------

    def _look(self, setup: Setup) -> None:
        """See to signals and nodes that have come or gone."""
        self.looked = time.monotonic()
        for seat in broken(self.seats):
            self._lose(seat)
        if self.stop:
            for seat in self.seats if not self.ended else ():
                seat.end()
            self.ended = True
            return
        wanted = needs(setup.options.compute.device, self.options.compute.workers)
        wanted = wanted[: len(self.left) + len(self.suspects)]
        lacking = Counter(wanted) - Counter(seat.need for seat in self.seats)
        self.seats += [Seat.taken(need, setup) for need in lacking.elements()]
        self._check_alive(setup.options)

    def _check_alive(self, options: ScanOptions) -> None:
        """Raise ClusterError if nobody has been scanning for too long."""
        now, gpu = time.monotonic(), "a GPU and " * (options.compute.device == "cuda")
        if any(seat.ready for seat in self.seats):
            self.alive = now
        elif not self.seats and self._is_left() and now - self.alive > JOIN_S:
            raise ClusterError(
                f"no node of the cluster has {gpu}{1 + options.compute.workers} cores for a "
                "scanner; try later, or give fewer --workers"
            )
        elif now - self.alive > START_S:
            raise ClusterError("the cluster has had no room for a scanner; try later")

    def _be_ready(self, seat: Seat, found: dict[str, Square] | MedscanError) -> None:
        if not isinstance(found, MedscanError):
            seat.ready, self.unborn = True, 0
            self.room = self.room or Room(self.options.outputs, found)
            self.watchdog.fed("studies are scanned on the cluster")
        elif self.room is None or isinstance(found, DeviceError):
            raise found
        else:  # a node that came later costs itself only
            log.warning("a node cannot scan")
            self.tally.notes.append(f"a node was left out: {found}")
            seat.leave()
            seat.loading = None

    def _lose(self, seat: Seat) -> None:
        """A scanner is gone: others get its studies, each alone, for one may be the cause."""
        log.warning("a scanner was lost with %d studies", sum(map(len, seat.lots.values())))
        self.seats.remove(seat)
        seat.leave()
        self.unborn += not seat.ready
        if self.unborn >= ATTEMPTS:
            raise ClusterError("scanners are lost before they are ready: see the logs of Ray")
        for task in [task for lot in seat.lots.values() for task in lot.values()]:
            self.attempts[task.study.key] += 1
            if self.attempts[task.study.key] < ATTEMPTS:
                self.suspects.append(task)
            else:
                self._give_up(task)

    def _give_up(self, task: Task) -> None:
        """Record a study as failed that no scanner survived."""
        why, path = f"{ATTEMPTS} scanners were lost with its study", self.pseudonyms.path
        files = sorted(task.study.files())
        rows = [[path(file.path), str(Reason.DECODER_DIED), why] for file in files]
        root = self.pseudonyms.root(files[0])
        work = Work(task.content, task.maker, root, self.options.inputs.tools, rows)
        found = study_result(task.study, [], task.skipped(), self.pseudonyms, work)
        self._finish(task, finish_study(self.options.outputs.parts, found, why))

    # --- studies -------------------------------------------------------------------------------

    def _give(self) -> None:
        """Keep every scanner busy, but hold back what is beyond that."""
        for seat in self.seats:
            while seat.ready and not self.stop and (lot := self._lot(seat)):
                seat.give(lot)

    def _lot(self, seat: Seat) -> list[Task]:
        """Studies to give to a scanner; none when it has enough.

        Lots shrink towards the end, so that all scanners end at about the same time.
        """
        if seat.alone or len(seat.lots) >= HANDS:
            return []
        if self.suspects:
            seat.alone = not seat.lots
            return [self.suspects.popleft()] if seat.alone else []
        lot: list[Task] = []
        most = min(LOT, self.weight // (2 * HANDS * len(self.seats)))
        enough = self.weight - most
        while self.left and (not lot or self.weight > enough) and self._has_room():
            lot.append(self.left.popleft())
            self.weight -= _slices(lot[-1])
        return lot

    def _has_room(self) -> bool:
        """Whether the disk has, for the result of the next study."""
        lack = self.room.lack(self.left[0]) if self.room else ""
        self.stop.failure = self.stop.failure or lack
        return not lack

    def _listen(self) -> None:
        """Wait a little for scanners to tell something."""
        waiting = {s.loading: s for s in self.seats if s.loading and not s.ready}
        waiting |= {stream: seat for seat in self.seats for stream in seat.lots}
        if not waiting:
            time.sleep(LOOK_S / 10)
            return
        told, _ = ray.wait(list(waiting), timeout=LOOK_S, fetch_local=False)
        for word in told:
            self._hear(waiting[word], word)

    def _hear(self, seat: Seat, word: Any) -> None:
        try:
            if word is seat.loading:
                self._be_ready(seat, ray.get(word))
            else:
                self._take(seat, word)
        except RayTaskError:  # a mistake of medscan's own
            raise
        except RayError:
            self._lose(seat)

    def _take(self, seat: Seat, stream: Any) -> None:
        """What a scanner tells of a lot."""
        ref = next(stream, None)
        if ref is None:
            seat.finish(stream)
            return
        told = ray.get(ref)
        if isinstance(told, FinishedStudy):
            self._finish(seat.lots[stream].pop(told.study), told)
        elif isinstance(told, logging.LogRecord):
            logging.getLogger(told.name).handle(told)
        else:
            self.stop.failure = self.stop.failure or told

    def _finish(self, task: Task, done: FinishedStudy) -> None:
        """Note a study whose part is there."""
        part = self.options.outputs.parts / f"{done.study}.h5"
        if not appears(part):
            raise DiskError(f"{part} was written on another node, but cannot be seen here")
        self.note(done)
        self.tally.done += 1
        self.tally.slices += done.slices
        self.failed += done.failed
        if self.room is not None:
            self.room.wrote(task)
        if self.watch is not None:
            self.watch(self.tally.done, self.asked, self.tally.slices, self.failed)
        self.watchdog.fed("studies are scanned on the cluster")


def _slices(task: Task) -> int:
    return sum(len(stack.frames) for _, stack, _ in task.stacks)


@contextmanager
def _marked(parts: Path) -> Iterator[str]:
    """Put a file beside the parts, by which every node can see that it is this very folder."""
    make_folder(parts)
    mark = secrets.token_hex(16)
    with replacing(parts / MARK) as aside:
        aside.write_text(mark, "utf-8")
    try:
        yield mark
    finally:
        remove(parts / MARK)
