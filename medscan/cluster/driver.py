"""The driver of a scan on a Ray cluster: it gives studies to scanners and records finished ones.

The driver holds no pixels: scanners (see `medscan.cluster.scanner`) write the part files and send
back small messages. One loop does everything: start scanners where nodes have room, give each a
lot of studies, and take their messages, until no study is waiting and no scanner is busy.
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
from medscan.cluster.nodes import (
    LOTS_AT_ONCE,
    ScannerSlot,
    connected,
    has_gpus,
    needs,
    slots_on_lost_nodes,
)
from medscan.cluster.scanner import MARK, Setup, becomes_visible
from medscan.errors import ClusterError, DeviceError, DiskError, LedgerError, MedscanError
from medscan.files import make_folder, remove, replacing
from medscan.options import ScanOptions
from medscan.planning import Task
from medscan.results import Work
from medscan.runtimes import Square
from medscan.scanning import (
    Assignment,
    FinishedStudy,
    Room,
    finish_study,
    recall,
    scores_of,
)
from medscan.scoring import study_result

log = logging.getLogger("medscan.scan")

ATTEMPTS = 3
"""Scanners that may be lost while they scan a study before the study is recorded as failed."""
LOT_SLICES = 512
"""Approximate number of slices in a lot, the studies given to a scanner together."""
JOIN_S = 60.0
"""Longest time without a node that has room for a scanner."""
START_S = 900.0
"""Longest time until a scanner is ready."""
CHECK_S = 1.0
"""Seconds between checks of what sends no message: signals, and nodes that come and go."""


class Driver:
    """Scans studies on a cluster, a bounded number at a time; the counterpart of `Pipeline`.

    Parameters
    ----------
    address : str or None
        Address of the cluster; see `medscan.cluster.nodes.connected`.
    assignment : Assignment
    """

    def __init__(self, address: str | None, assignment: Assignment) -> None:
        self.address, self.options = address, assignment.options
        self.pseudonyms, self.stop = assignment.pseudonyms, assignment.stop
        self.watchdog, self.watch = assignment.watchdog, assignment.watch
        self.note, self.tally = assignment.note, assignment.tally
        self.total, self.failed = 0, assignment.failed
        self.slots: list[ScannerSlot] = []
        self.suspects: deque[Task] = deque()
        self.losses: Counter[str] = Counter()
        self.lost_unready, self.stop_sent = 0, False
        self.room: Room | None = None

    def run(self, tasks: Sequence[Task]) -> None:
        """Scan studies until all are done or something stops the scan; `stop` says what.

        Raises
        ------
        ClusterError
            If there is no cluster, or none of its nodes can scan.
        medscan.errors.UsageError
            If a node does not see the same files, has other versions or lacks the weights.
        """
        self.total, self.waiting = len(tasks), deque(tasks)
        self.waiting_slices = sum(map(_slices, tasks))
        try:
            with connected(self.address), _marked(self.options.outputs.parts) as mark:
                self._run(mark)
        except LedgerError:  # a DiskError, but the caller mends it with a new ledger
            raise
        except (DeviceError, DiskError) as error:
            self.stop.failure = str(error)

    def _run(self, mark: str) -> None:
        setup, self.checked_at, self.last_ready_at = self._make_setup(mark), 0.0, time.monotonic()
        try:
            # On a stop, studies that scanners have begun get a few seconds more.
            while not self.stop.overdue and (
                self._is_busy() or (self._has_waiting() and not self.stop)
            ):
                is_time = time.monotonic() - self.checked_at > CHECK_S
                if is_time or (self.stop and not self.stop_sent):
                    self._check_cluster(setup)
                self._give_lots()
                self._wait_for_messages()
        finally:
            for slot in self.slots:
                slot.release()

    def _make_setup(self, mark: str) -> Setup:
        """Return what scanners work with; the bytes of the detectors go to Ray's object store."""
        options = self.options
        files = [ray.put(path.read_bytes()) for path, _ in options.inputs.detectors]
        device = "cuda" if options.compute.device != "cpu" else "cpu"
        if options.compute.device == "auto" and not has_gpus():
            device = "cpu"
        node_options = replace(
            options,
            outputs=replace(options.outputs, out=options.outputs.out.absolute()),
            compute=replace(options.compute, device=device),
        )
        return Setup(node_options, self.pseudonyms, files, mark, options.inputs.tools, cpus=1)

    def _is_busy(self) -> bool:
        return any(slot.lots for slot in self.slots)

    def _has_waiting(self) -> bool:
        return bool(self.waiting or self.suspects)

    # --- scanners ------------------------------------------------------------------------------

    def _check_cluster(self, setup: Setup) -> None:
        """Pass on a stop, drop scanners of lost nodes, and start scanners on new ones."""
        self.checked_at = time.monotonic()
        for slot in slots_on_lost_nodes(self.slots):
            self._lose_scanner(slot)
        if self.stop:
            for slot in self.slots if not self.stop_sent else ():
                slot.finish_early()
            self.stop_sent = True
            return
        possible = needs(setup.options.compute.device, self.options.compute.workers)
        # No more scanners than studies: each loads a model first.
        wanted = possible[: len(self.waiting) + len(self.suspects)]
        # Compared by need: it does not matter on which of several equal nodes a slot is.
        missing = Counter(wanted) - Counter(slot.need for slot in self.slots)
        self.slots += [ScannerSlot.reserve(need, setup) for need in missing.elements()]
        self._check_alive(setup.options)

    def _check_alive(self, options: ScanOptions) -> None:
        """Raise ClusterError if no scanner has been ready for too long."""
        now, gpu = time.monotonic(), "a GPU and " * (options.compute.device == "cuda")
        if any(slot.ready for slot in self.slots):
            self.last_ready_at = now
        elif not self.slots and self._has_waiting() and now - self.last_ready_at > JOIN_S:
            raise ClusterError(
                f"no node of the cluster has {gpu}{1 + options.compute.workers} cores for a "
                "scanner; try later, or give fewer --workers"
            )
        elif now - self.last_ready_at > START_S:
            raise ClusterError("the cluster has had no room for a scanner; try later")

    def _note_loaded(self, slot: ScannerSlot, loaded: dict[str, Square] | MedscanError) -> None:
        """Take a scanner's answer to `load`.

        Until a first scanner is ready, an error ends the scan: it would probably be the same on all
        nodes. Later the scan goes on without that node.
        """
        if not isinstance(loaded, MedscanError):
            slot.ready, self.lost_unready = True, 0
            self.room = self.room or Room(self.options.outputs, loaded)
            self.watchdog.feed("studies are scanned on the cluster")
        elif self.room is None or isinstance(loaded, DeviceError):
            raise loaded
        else:
            log.warning("a node cannot scan")
            self.tally.notes.append(f"a node was left out: {loaded}")
            # The slot stays in the list, so that no other scanner is started for the same node.
            slot.release()
            slot.loading = None

    def _lose_scanner(self, slot: ScannerSlot) -> None:
        """Drop a scanner that died; its studies become suspects, which others scan one by one.

        A study may have killed the scanner. Alone on the next one, it cannot take others with it,
        and each loss counts against the study that was there.
        """
        log.warning("a scanner was lost with %d studies", sum(map(len, slot.lots.values())))
        self.slots.remove(slot)
        slot.release()
        self.lost_unready += not slot.ready
        if self.lost_unready >= ATTEMPTS:
            raise ClusterError("scanners are lost before they are ready: see the logs of Ray")
        for task in [task for lot in slot.lots.values() for task in lot.values()]:
            self.losses[task.study.key] += 1
            if self.losses[task.study.key] < ATTEMPTS:
                self.suspects.append(task)
            else:
                self._give_up(task)

    def _give_up(self, task: Task) -> None:
        """Record a study as failed because no scanner survived it."""
        why, path = f"{ATTEMPTS} scanners were lost with its study", self.pseudonyms.path
        files = sorted(task.study.files())
        rows = [[path(file.path), str(Reason.DECODER_DIED), why] for file in files]
        root = self.pseudonyms.root(files[0])
        options = self.options
        stacks = recall(task, options.outputs, options.privacy)
        tools, scores = options.inputs.tools, scores_of(stacks)
        work = Work(task.content, task.maker, root, tools, rows, scores)
        result = study_result(task.study, stacks, task.skipped_stacks(), self.pseudonyms, work)
        self._finish(task, finish_study(options.outputs.parts, result, why))

    # --- studies -------------------------------------------------------------------------------

    def _give_lots(self) -> None:
        """Give every scanner enough to stay busy, and no more: a scan may stop or lose it."""
        for slot in self.slots:
            while slot.ready and not self.stop and (lot := self._next_lot(slot)):
                slot.submit(lot)

    def _next_lot(self, slot: ScannerSlot) -> list[Task]:
        """Return the next studies for a scanner; none if it has enough.

        Lots shrink towards the end, so that all scanners end at about the same time: a lot is at
        most the waiting slices divided by twice the number of lots that all scanners hold.
        """
        if slot.holds_suspect or len(slot.lots) >= LOTS_AT_ONCE:
            return []
        # While there are suspects, scanners get nothing else, and a suspect only when idle.
        if self.suspects:
            slot.holds_suspect = not slot.lots
            return [self.suspects.popleft()] if slot.holds_suspect else []
        lot: list[Task] = []
        size = min(LOT_SLICES, self.waiting_slices // (2 * LOTS_AT_ONCE * len(self.slots)))
        rest = self.waiting_slices - size
        # At least one study, however large.
        while self.waiting and (not lot or self.waiting_slices > rest) and self._has_room():
            lot.append(self.waiting.popleft())
            self.waiting_slices -= _slices(lot[-1])
        return lot

    def _has_room(self) -> bool:
        """Reserve disk space for the next study; without it, the scan stops."""
        lacking = self.room.reserve(self.waiting[0]) if self.room else ""
        self.stop.failure = self.stop.failure or lacking
        return not lacking

    def _wait_for_messages(self) -> None:
        """Wait a little for messages of scanners, and handle those that have come."""
        sources = {s.loading: s for s in self.slots if s.loading and not s.ready}
        sources |= {stream: slot for slot in self.slots for stream in slot.lots}
        if not sources:
            time.sleep(CHECK_S / 10)
            return
        # `ray.wait` returns one source by default: handling it may drop a slot with all its
        # streams.
        ready, _ = ray.wait(list(sources), timeout=CHECK_S, fetch_local=False)
        for source in ready:
            self._handle(sources[source], source)

    def _handle(self, slot: ScannerSlot, source: Any) -> None:
        try:
            if source is slot.loading:
                self._note_loaded(slot, ray.get(source))
            else:
                self._take_message(slot, source)
        except RayTaskError:  # raised by the scanner's code: a bug of medscan
            raise
        except RayError:  # the scanner's process or node died
            self._lose_scanner(slot)

    def _take_message(self, slot: ScannerSlot, stream: Any) -> None:
        """Take one message of a scanner about a lot."""
        ref = next(stream, None)
        if ref is None:
            slot.finish_lot(stream)
            return
        message = ray.get(ref)
        if isinstance(message, FinishedStudy):
            self._finish(slot.lots[stream].pop(message.study), message)
        elif isinstance(message, logging.LogRecord):
            logging.getLogger(message.name).handle(message)
        elif isinstance(message, int):
            self.tally.repeated += message
        else:
            self.stop.failure = self.stop.failure or message

    def _finish(self, task: Task, finished: FinishedStudy) -> None:
        """Record a study whose part file can be seen here."""
        part = self.options.outputs.parts / f"{finished.study}.h5"
        if not becomes_visible(part):
            raise DiskError(f"{part} was written on another node, but cannot be seen here")
        self.note(finished)
        self.tally.done += 1
        self.tally.slices += finished.slices
        self.failed += finished.failed
        if self.room is not None:
            self.room.mark_written(task)
        if self.watch is not None:
            self.watch(self.tally.done, self.total, self.tally.slices, self.failed)
        self.watchdog.feed("studies are scanned on the cluster")


def _slices(task: Task) -> int:
    return sum(len(stack.frames) for _, stack, _ in task.stacks)


@contextmanager
def _marked(parts: Path) -> Iterator[str]:
    """Write a random mark into the folder of the parts, so that nodes can tell it is the same."""
    make_folder(parts)
    mark = secrets.token_hex(16)
    with replacing(parts / MARK) as aside:
        aside.write_text(mark, "utf-8")
    try:
        yield mark
    finally:
        remove(parts / MARK)
