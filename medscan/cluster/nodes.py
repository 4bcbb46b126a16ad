"""A Ray cluster: joining it, what it has room for, and a place on it for each scanner."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from medscan.cluster.scanner import Scanner, Setup
from medscan.errors import ClusterError
from medscan.planning import Task

LOCAL = "local"
"""Address of a cluster that is made for this scan alone, of this machine."""
REACH_S = 5.0
"""Longest time for a cluster's head to answer; Ray itself would try for minutes."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
HANDS = 2
"""Lots that a scanner has in hand: it decodes one while it scores another."""


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Be the driver of a Ray cluster: that at the address, else at RAY_ADDRESS, else one's own.

    Raises
    ------
    ClusterError
        There is none, or it is of another version.
    """
    os.environ.update(QUIET)
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    _reach(address)
    # Ray writes what happens to its workers to standard output, which is for the summary.
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        _init(address)
        try:
            yield
        finally:
            ray.shutdown()


def _init(address: str) -> None:
    logging.getLogger("ray").setLevel(logging.ERROR)
    more = {"include_dashboard": False} if address == LOCAL else {}
    with _keeping_signals():
        try:
            ray.init(address, log_to_driver=False, configure_logging=False, **more)
        except (OSError, RuntimeError, ValueError) as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise ClusterError(f"the Ray cluster at {address} cannot be used: {why}") from error


def _reach(address: str) -> None:
    """Raise ClusterError if nothing answers at HOST:PORT."""
    host, _, port = address.rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except (OSError, ValueError) as error:  # ValueError: of what is no port
        why = getattr(error, "strerror", None) or str(error)
        raise ClusterError(f"no Ray cluster answers at {address}: {why}; try later") from error


@contextmanager
def _keeping_signals() -> Iterator[None]:
    """Ray takes the termination signal for itself."""
    kept = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, kept)


class Need(NamedTuple):
    """What a scanner takes for its model: cores and GPUs."""

    cpus: int
    gpus: int


def has_gpus() -> bool:
    """Whether any node has."""
    return any(node.get("GPU") for node in _nodes())


def needs(device: str, workers: int) -> list[Need]:
    """The scanners that there is room for: one a GPU, or on CPUs one a node.

    Parameters
    ----------
    device : str
        cuda or cpu.
    workers : int
        Cores of a scanner for decoding; on CPUs the model has the others of its node.
    """
    if device == "cuda":
        return [Need(1, 1)] * sum(int(node.get("GPU", 0)) for node in _nodes())
    cores = [int(node.get("CPU", 0)) - workers for node in _nodes()]
    return [Need(count, 0) for count in cores if count > 0]


def _nodes() -> list[dict[str, float]]:
    """Resources of the nodes that are up."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@dataclass(slots=True, eq=False)
class Seat:
    """A scanner and what it has in hand.

    Its placement group holds its device and cores for the model, and a core for each decode task,
    on one node where there is room: neither tasks nor other scanners can take them away.
    """

    need: Need
    group: Any
    scanner: Any
    loading: Any
    """What it answers once it has loaded; None where it cannot scan."""
    ready: bool = False
    lots: dict[Any, dict[str, Task]] = field(default_factory=dict)
    alone: bool = False
    """Whether what it has may be what ended another scanner: nothing is given beside it."""

    @classmethod
    def taken(cls, need: Need, setup: Setup) -> Self:
        """A seat for a scanner, which begins to load once there is room."""
        own = {"CPU": need.cpus} | ({"GPU": need.gpus} if need.gpus else {})
        group = placement_group(
            [own, *([{"CPU": 1}] * setup.options.compute.workers)], strategy="PACK"
        )
        scanner = (
            ray.remote(Scanner)
            .options(
                num_cpus=need.cpus,
                num_gpus=need.gpus,
                max_concurrency=HANDS + 2,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, 0),
            )
            .remote(replace(setup, cpus=need.cpus))
        )
        return cls(need, group, scanner, scanner.load.remote())

    def give(self, tasks: list[Task]) -> None:
        """Have studies scanned."""
        stream = self.scanner.scan.options(num_returns="streaming").remote(tasks)
        self.lots[stream] = {task.study.key: task for task in tasks}

    def end(self) -> None:
        """Have it begin no further study."""
        self.scanner.end.remote()

    def finish(self, stream: Any) -> None:
        """A lot is over."""
        del self.lots[stream]
        self.alone = self.alone and bool(self.lots)

    def leave(self) -> None:
        """End the scanner and make room."""
        with suppress(ray.exceptions.RayError):
            ray.kill(self.scanner)
        remove_placement_group(self.group)


def broken(seats: list[Seat]) -> list[Seat]:
    """Those of which a node is lost: what decodes for them may never come back."""
    states = {key: group["state"] for key, group in placement_group_table().items()}
    return [seat for seat in seats if states.get(seat.group.id.hex()) == "RESCHEDULING"]
