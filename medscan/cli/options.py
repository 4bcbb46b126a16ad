"""Options that several commands share."""

from __future__ import annotations

import datetime
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medscan.archive import Shard


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


class OrderName(StrEnum):
    """`medscan.scan.plan.Order` again."""

    path = "path"
    newest = "newest"
    oldest = "oldest"


class RescanName(StrEnum):
    """`medscan.scan.plan.Rescan` again."""

    none = "none"
    stale = "stale"
    failed = "failed"
    all = "all"


class EngineName(StrEnum):
    """`medscan.scan.options.Engine` again."""

    local = "local"
    ray = "ray"


SIGNAL_EXITS = {"SIGINT": 130, "SIGTERM": 143}
"""Exit status by the signal that stopped a command."""

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
PrecisionOption = Annotated[Precision, typer.Option(help="Of weights and activations.")]
Archives = Annotated[list[Path], typer.Argument(help="Folders or files to scan.")]
Detectors = Annotated[
    list[Path] | None,
    typer.Option(help="Detector file, or name of a shipped one; may be repeated."),
]
BatchSize = Annotated[str, typer.Option(help="Slices a batch, or auto.")]
Workers = Annotated[
    int, typer.Option(min=0, help="Decode processes; 0: in this one, without protection.")
]
PlaneOption = Annotated[PlaneName | None, typer.Option(help="Plane that volume files are cut in.")]


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


def clock(option: str, text: str | None) -> datetime.time | None:
    """A time of day, HH:MM; None for none.

    Raises
    ------
    medscan.errors.UsageError
        It is none.
    """
    from medscan.errors import UsageError

    if text is None:
        return None
    found = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", text.strip())
    if found is None:
        raise UsageError(f"{option} {text}: a time of day, such as 06:00")
    return datetime.time(int(found[1]), int(found[2]))


def batch(text: str) -> int | None:
    """Slices a batch; None for auto.

    Raises
    ------
    medscan.errors.UsageError
        It is no whole number above 0.
    """
    from medscan.errors import UsageError

    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise UsageError(f"--batch-size {text}: a whole number above 0, or auto")
    return int(text)


def shard(text: str | None) -> Shard | None:
    """A share of an archive, I/N with 1 <= I <= N; None for none.

    Raises
    ------
    medscan.errors.UsageError
        It is none.
    """
    from medscan.archive import Shard
    from medscan.errors import UsageError

    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip(), re.ASCII)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"--shard {text}: I/N, such as 3/16; the first is 1/16, the last 16/16")
    return Shard(int(found[1]), int(found[2]))


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
