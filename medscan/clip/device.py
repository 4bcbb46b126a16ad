"""Which device to compute on."""

from __future__ import annotations

from medscan.errors import UsageError


def choose_device(wanted: str) -> str:
    """`auto`, `cpu`, `cuda` or `cuda:N` -> a device that is there.

    Raises
    ------
    UsageError
        It is not there, or is no device.
    """
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = wanted.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()) or wanted == "cpu:":
        raise UsageError(f"--device {wanted}: choose auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {wanted}: this machine has {torch.cuda.device_count()} GPUs")
    return wanted
