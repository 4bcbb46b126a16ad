"""Threads that run batches through models while the scan fills the next batch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self, TypeVar

from medscan.runtimes import cores as all_cores
from medscan.runtimes import one_thread

Result = TypeVar("Result")

STEP_S = 0.5
"""Longest single wait for a result."""


def lane_count(device: str, cores: int | None = None) -> int:
    """Return the number of lanes; see `Lanes`."""
    return (cores or all_cores()) if device == "cpu" else 1


class Lanes:
    """Runs batches on a device, started in the order they are submitted; a context manager.

    On a CPU there is one lane per core, each with one thread: batches side by side keep the cores
    busier than one batch spread over them, and no result depends on the number of cores. PyTorch
    has one thread inside if it is loaded already; what it computes there must be loaded before. A
    GPU has one lane, which queues its work behind what the GPU is computing.

    Parameters
    ----------
    device : str
        cpu, cuda or cuda:N.
    waiting : callable
        Called again and again while results are waited for; an error that it raises ends the wait.
    cores : int, optional
        Cores to use of a CPU; None: all of them.
    """

    def __init__(
        self,
        device: str,
        waiting: Callable[[], object] = lambda: None,
        cores: int | None = None,
    ) -> None:
        self.device, self.waiting = device, waiting
        self.count = lane_count(device, cores)
        self.ahead = 2 * self.count + 1
        """Batches that may be submitted and not taken: no lane ever waits for the next one."""
        self._abandoned = False

    def __enter__(self) -> Self:
        self._limited = ExitStack()
        if self.device == "cpu" and "torch" in sys.modules:
            self._limited.enter_context(one_thread())
        # A new thread adopts this setting only when it first asks for it; until then oneDNN would
        # use all cores in that thread. Each lane therefore asks as it starts.
        self._pool = ThreadPoolExecutor(self.count, "lane", all_cores)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._abandoned = True  # a batch on a slow core may take half a minute
        self._pool.shutdown(cancel_futures=True)
        self._abandoned = False
        self._limited.close()

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Run `work` in the next free lane."""
        return self._pool.submit(work)

    def result(self, future: Future[Result]) -> Result:
        """Wait for the result of submitted work."""
        while True:
            with suppress(TimeoutError):
                return future.result(timeout=STEP_S)
            self.waiting()

    def check(self) -> None:
        """Raise CancelledError if nobody waits for results any more."""
        if self._abandoned:
            raise CancelledError
