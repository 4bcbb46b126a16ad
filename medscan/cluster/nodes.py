"""A Ray cluster: connect to it, find room for scanners, and reserve a slot for each."""

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
from medscan.decoding import no_stderr
from medscan.errors import ClusterError
from medscan.planning import Task

LOCAL = "local"
"""Address that stands for a cluster of this machine alone, started for this scan."""
REACH_S = 5.0
"""Longest time for a cluster's head to answer; Ray itself would try for minutes."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
"""Environment in which Ray sends no usage statistics."""
LOTS_AT_ONCE = 2
"""Lots that a scanner holds at once: it decodes one while it scores another."""


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect to the Ray cluster at `address`, else at RAY_ADDRESS, else start a local one.

    Raises
    ------
    ClusterError
        If there is no cluster, or it runs another version.
    """
    os.environ.update(QUIET)
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    _check_reachable(address)
    # Ray prints what happens to its workers on standard output, where the summary belongs.
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        _init(address)
        try:
            yield
        finally:
            ray.shutdown()


def _init(address: str) -> None:
    logging.getLogger("ray").setLevel(logging.ERROR)
    more = {"include_dashboard": False} if address == LOCAL else {}
    with _preserved_sigterm():
        try:
            with no_stderr():  # where Ray's own code writes pages before it gives up
                ray.init(address, log_to_driver=False, configure_logging=False, **more)
        except (OSError, RuntimeError, ValueError) as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise ClusterError(f"the Ray cluster at {address} cannot be used: {why}") from error


def _check_reachable(address: str) -> None:
    """Raise ClusterError if nothing, or something else than Ray, answers at HOST:PORT.

    Ray itself would wait for minutes, and then print pages.
    """
    host, _, port = address.rpartition(":")
    if not host:
        return
    try:
        place = host.strip("[]"), int(port)
        with socket.create_connection(place, REACH_S) as connection:
            is_ray = os.environ.get("RAY_USE_TLS") == "1" or _speaks_http2(connection)
    except (OSError, ValueError) as error:  # ValueError: not a port number
        why = getattr(error, "strerror", None) or str(error)
        raise ClusterError(f"no Ray cluster answers at {address}: {why}; try later") from error
    if not is_ray:
        raise ClusterError(f"what answers at {address} is no Ray cluster; give its head node")


def _speaks_http2(connection: socket.socket) -> bool:
    """Whether a server answers settings by settings, as gRPC does (RFC 9113 3.4 and 6.5)."""
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
    return connection.recv(9)[3:4] == b"\x04"


@contextmanager
def _preserved_sigterm() -> Iterator[None]:
    """Restore the handler of SIGTERM, which Ray replaces by its own."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


class Need(NamedTuple):
    """Cores and GPUs that a scanner needs for its model."""

    cpus: int
    gpus: int


def has_gpus() -> bool:
    """Whether any node has a GPU."""
    return any(node.get("GPU") for node in _nodes())


def needs(device: str, workers: int) -> list[Need]:
    """Return the needs of all scanners that fit: one per GPU, or on CPUs one per node.

    Parameters
    ----------
    device : str
        cuda or cpu.
    workers : int
        Cores of a scanner for decoding; on CPUs the model gets the other cores of its node.
    """
    if device == "cuda":
        return [Need(1, 1)] * sum(int(node.get("GPU", 0)) for node in _nodes())
    cores = [int(node.get("CPU", 0)) - workers for node in _nodes()]
    return [Need(count, 0) for count in cores if count > 0]


def _nodes() -> list[dict[str, float]]:
    """Return the resources of the nodes that are up."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


@dataclass(slots=True, eq=False)
class ScannerSlot:
    """A scanner's slot on a node, and the lots that the scanner holds.

    Its placement group reserves the device and cores of the model, and a core for each decode task,
    if possible on the same node: neither tasks nor other scanners can take them away.
    """

    need: Need
    group: Any
    scanner: Any
    loading: Any
    """Ref of the answer to `Scanner.load`; None if the scanner cannot scan."""
    ready: bool = False
    lots: dict[Any, dict[str, Task]] = field(default_factory=dict)
    """Studies not finished yet, by key, for each lot's stream of messages."""
    holds_suspect: bool = False
    """Whether it scans a study that may have killed another scanner: it gets no other meanwhile."""

    @classmethod
    def reserve(cls, need: Need, setup: Setup) -> Self:
        """Reserve a slot; the scanner starts to load as soon as Ray finds room for it."""
        for_model = {"CPU": need.cpus} | ({"GPU": need.gpus} if need.gpus else {})
        group = placement_group(
            [for_model, *([{"CPU": 1}] * setup.options.compute.workers)], strategy="PACK"
        )
        scanner = (
            ray.remote(Scanner)
            .options(
                num_cpus=need.cpus,
                num_gpus=need.gpus,
                max_concurrency=LOTS_AT_ONCE + 2,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, 0),
            )
            .remote(replace(setup, cpus=need.cpus))
        )
        return cls(need, group, scanner, scanner.load.remote())

    def submit(self, tasks: list[Task]) -> None:
        """Give the scanner a lot of studies."""
        stream = self.scanner.scan.options(num_returns="streaming").remote(tasks)
        self.lots[stream] = {task.study.key: task for task in tasks}

    def finish_early(self) -> None:
        """Let the scanner begin no further study."""
        self.scanner.finish_early.remote()

    def finish_lot(self, stream: Any) -> None:
        """Drop a lot whose last message has come."""
        del self.lots[stream]
        self.holds_suspect = self.holds_suspect and bool(self.lots)

    def release(self) -> None:
        """End the scanner and release its resources."""
        with suppress(ray.exceptions.RayError):
            ray.kill(self.scanner)
        remove_placement_group(self.group)


def slots_on_lost_nodes(slots: list[ScannerSlot]) -> list[ScannerSlot]:
    """Return the slots with a lost node: decode tasks on it may never come back."""
    states = {key: group["state"] for key, group in placement_group_table().items()}
    return [slot for slot in slots if states.get(slot.group.id.hex()) == "RESCHEDULING"]
