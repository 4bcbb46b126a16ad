"""Options that several commands share."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import typer


class PlaneName(StrEnum):
    """`medscan.archive.Plane` again: importing that room would make `--help` slow."""

    axial = "axial"
    coronal = "coronal"
    sagittal = "sagittal"


class Precision(StrEnum):
    """Of weights and activations."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
PrecisionOption = Annotated[Precision, typer.Option(help="Of weights and activations.")]


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(option: str, text: str) -> float:
    """A length of time such as 90s, 15m, 2h or 1d.

    Raises
    ------
    medscan.errors.UsageError
        It is none.
    """
    from medscan.errors import UsageError

    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd])", text.strip())
    if found is None and text.strip() != "0":
        raise UsageError(f"{option} {text}: a number and s, m, h or d, such as 15m")
    return float(found[1]) * _SECONDS[found[2]] if found else 0.0


def gib(option: str, value: float) -> int:
    """GiB as bytes.

    Raises
    ------
    medscan.errors.UsageError
        It is not above 0, or no number.
    """
    from medscan.errors import UsageError

    if not 0 < value < 1 << 20:
        raise UsageError(f"{option} {value:g}: a number of GiB above 0")
    return max(1, int(value * (1 << 30)))
