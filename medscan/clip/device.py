"""Choice of the device to compute on."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from medscan.errors import DeviceError, UsageError
from medscan.text import printable

GPU_FULL = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Messages of a full GPU that are not PyTorch's own OutOfMemoryError: from the driver, and from
cuBLAS, which takes memory for each thread that uses it."""
MEMORY_FULL = ("can't allocate memory", "not enough memory", "out of memory")
"""Messages of PyTorch when the memory of the CPU, or of its driver, is full."""
DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Of NVIDIA's GPUs on Linux and on Windows' Linux, and of AMD's."""
GPU_LOST = ("CUDA error", "CUDNN_STATUS", "CUBLAS_STATUS")


def choose_device(requested: str) -> str:
    """Return a device of this machine for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises
    ------
    UsageError
        If this machine lacks the device, or the name is not one of these.
    """
    if requested == "cpu" or (requested == "auto" and not _may_have_gpu()):
        return "cpu"
    import torch

    if requested == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = requested.partition(":")
    if kind not in ("cpu", "cuda") or not re.fullmatch("[0-9]{0,4}", number) or requested == "cpu:":
        raise UsageError(f"--device {printable(requested, 80)}: choose auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {requested}: this machine has {torch.cuda.device_count()} GPUs")
    return requested


def _may_have_gpu() -> bool:
    """Whether a driver is here that PyTorch may use; it takes a second to ask PyTorch itself."""
    return sys.platform != "linux" or any(map(os.path.exists, DRIVERS))


@contextmanager
def device_errors() -> Iterator[None]:
    """Raise errors of the device as DeviceError, in one line."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        described = device_error(error)
        if described is None:
            raise
        raise described from error


def device_error(error: Exception) -> DeviceError | None:
    """Describe an error of the device in one line; None for a mistake of the program."""
    message = str(error).partition("\n")[0]
    if isinstance(error, MemoryError) or is_gpu_full(error) or _has(message, MEMORY_FULL):
        return DeviceError(
            "memory is too small for the detector; end other programs on the device, give a "
            "smaller --batch-size, or use --device cpu"
        )
    return DeviceError(f"the GPU is lost ({message})") if _is_lost(error, message) else None


def is_gpu_full(error: Exception) -> bool:
    """Whether a GPU had no memory left for what was computed; it can still be used."""
    import torch

    return isinstance(error, torch.cuda.OutOfMemoryError) or _has(str(error), GPU_FULL)


def _is_lost(error: Exception, message: str) -> bool:
    """Whether the device failed, rather than the program."""
    import torch

    error_type: type[Exception] | None = getattr(torch, "AcceleratorError", None)  # PyTorch 2.8
    failed = error_type is not None and isinstance(error, error_type)
    return failed or (isinstance(error, RuntimeError) and _has(message, GPU_LOST))


def _has(message: str, phrases: tuple[str, ...]) -> bool:
    return any(phrase in message for phrase in phrases)
