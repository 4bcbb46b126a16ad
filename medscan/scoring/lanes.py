"""Threads that run batches through models while the scan fills the next."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

Made = TypeVar("Made")


class Lanes:
    """Runs work on a device, begun in the order that it comes in; used in a `with` statement.

    On a CPU there is a lane a core, each of one thread: batches side by side keep cores busier than
    one batch spread over them, and no result depends on the number of cores. PyTorch's threads are
    a matter of the process: they are as they were once the lanes are closed. A GPU has one lane,
    and what that is given is queued behind what the GPU computes.

    Parameters
    ----------
    device : str
    """

    def __init__(self, device: str) -> None:
        self.device = device

    def __enter__(self) -> Self:
        import torch

        self._threads = torch.get_num_threads()
        self.count = self._threads if self.device == "cpu" else 1
        self.ahead = 2 * self.count + 1
        """Batches that may be under way, enough for no lane to wait for the next."""
        if self.device == "cpu":
            torch.set_num_threads(1)
        # A thread follows when it first asks: until then oneDNN uses all cores in it.
        self._pool = ThreadPoolExecutor(self.count, "lane", torch.get_num_threads)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import torch

        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads)

    def submit(self, work: Callable[[], Made]) -> Future[Made]:
        """Have some work done by the next lane that is free."""
        return self._pool.submit(work)
