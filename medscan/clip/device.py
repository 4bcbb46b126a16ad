"""Choice of the device to compute on."""

from __future__ import annotations

import re

from medscan.errors import UsageError
from medscan.text import printable


def choose_device(requested: str) -> str:
    """Return a device of this machine for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises
    ------
    UsageError
        If this machine lacks the device, or the name is not one of these.
    """
    import torch

    if requested == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = requested.partition(":")
    if kind not in ("cpu", "cuda") or not re.fullmatch("[0-9]{0,4}", number) or requested == "cpu:":
        raise UsageError(f"--device {printable(requested, 80)}: choose auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {requested}: this machine has {torch.cuda.device_count()} GPUs")
    return requested
