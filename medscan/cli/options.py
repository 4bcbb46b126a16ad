"""Options that several commands share, and what turns their words into values."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from medscan.choices import Plane, Precision, Shard

SIGNAL_EXITS = {"SIGINT": 130, "SIGTERM": 143}
"""Exit status by the signal that stopped a command."""

INPUT = "Input"
COMPUTE = "Compute"
PRIVACY = "Privacy"
BUDGET = "What to scan first, and how much"
OUTPUT = "Output"
"""Headings of `--help`."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _wrong(message: str) -> Exception:
    from medscan.errors import UsageError

    return UsageError(message)


def duration(option: str) -> Callable[[Any], float]:
    """Parser of a length of time such as 90s, 15m, 2h or 1d, into seconds."""

    def parse(text: Any) -> float:
        found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd])", str(text).strip())
        if found is None and str(text).strip() != "0":
            raise _wrong(f"{option} {text}: a number and s, m, h or d, such as 15m")
        return float(found[1]) * _SECONDS[found[2]] if found else 0.0

    return parse


def clock_time(text: Any) -> datetime.time:
    """Parse `--until`: a time of day, HH:MM."""
    found = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", str(text).strip())
    if found is None:
        raise _wrong(f"--until {text}: a time of day, such as 06:00")
    return datetime.time(int(found[1]), int(found[2]))


def batch_size(text: Any) -> int:
    """Parse `--batch-size`: slices a batch; 0 for auto."""
    if text in ("auto", 0):  # 0 is the default
        return 0
    if not (str(text).isascii() and str(text).isdecimal() and int(text)):
        raise _wrong(f"--batch-size {text}: a whole number above 0, or auto")
    return int(text)


def shard(text: Any) -> Shard:
    """Parse `--shard`: I/N with 1 <= I <= N."""
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", str(text).strip(), re.ASCII)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise _wrong(f"--shard {text}: I/N, such as 3/16; the first is 1/16, the last 16/16")
    return Shard(int(found[1]), int(found[2]))


def gib(option: str) -> Callable[[Any], int]:
    """Parser of a number of GiB, into bytes."""

    def parse(text: Any) -> int:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < 1 << 20:
            raise _wrong(f"{option} {text}: a number of GiB above 0")
        return max(1, int(value * (1 << 30)))

    return parse


Archives = Annotated[list[Path], typer.Argument(help="Folders or files to scan.")]
Detectors = Annotated[
    list[Path] | None,
    typer.Option(
        help="Detector file, or name of a shipped one; may be repeated.", rich_help_panel=INPUT
    ),
]
PlaneOption = Annotated[
    Plane | None,
    typer.Option(help="Plane to cut volume files in.", rich_help_panel=INPUT),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=COMPUTE)]
PrecisionOption = Annotated[
    Precision,
    typer.Option(help="Number format of weights and activations.", rich_help_panel=COMPUTE),
]
BatchSize = Annotated[
    int,
    typer.Option(
        help="Slices per batch, or auto.",
        parser=batch_size,
        metavar="N",
        show_default="auto",
        rich_help_panel=COMPUTE,
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        min=0,
        help="Processes that decode; 0: decode in this one, unprotected from files that crash it.",
        rich_help_panel=COMPUTE,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=OUTPUT)]
