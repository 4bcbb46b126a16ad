"""How many batches are computed side by side on a CPU, each by one thread."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOLD = ("MKL_NUM_THREADS", "OMP_NUM_THREADS")
"""Environment variables that lower the number; the first one counts."""
TOPOLOGY = Path("/sys/devices/system/cpu")


def cores() -> int:
    """Return the number of cores that models are computed on.

    Where PyTorch is loaded, it is the number of its threads. Else it is what PyTorch would set it
    to, without the second that importing it takes.
    """
    if "torch" in sys.modules:
        import torch

        return torch.get_num_threads()
    told = (os.environ.get(name, "").partition(",")[0].strip() for name in TOLD)
    numbers = [int(number) for number in told if number.isdecimal()]
    here = _physical()
    return min(next(filter(None, numbers), here), here)


def _physical() -> int:
    """Cores that this process may use; the threads of one core share its arithmetic units."""
    if not hasattr(os, "sched_getaffinity"):  # not Linux
        return os.cpu_count() or 1
    return len({_siblings(number) for number in os.sched_getaffinity(0)})


def _siblings(number: int) -> str:
    """Which threads share a core with this one; itself if the system does not say."""
    try:
        return (TOPOLOGY / f"cpu{number}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(number)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute by one thread inside: no sum depends on the number of cores.

    PyTorch sets it for the whole process.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
