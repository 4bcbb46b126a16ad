"""Backbones that can be pulled or imported, from a table that comes with medscan.

The first line of available.csv says when it was made, and from what.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

VISION_METHODS = "patchcore discriminant"
"""Methods that need no sentences."""
COLUMNS = (
    "name", "architecture", "source", "parameters", "size", "licence", "gated", "methods"
)  # fmt: skip
"""Name for medscan; architecture of open_clip or timm; repository on the Hugging Face hub; millions
of parameters of the vision tower; side of its input in pixels; licence of the weights; whether
access has to be asked for; methods that it serves."""


@cache
def available() -> tuple[str, tuple[dict[str, str], ...]]:
    """When and from what the table was made, and its rows: a cell for each of `COLUMNS`."""
    text = files("medscan.backbones").joinpath("available.csv").read_text(encoding="utf-8")
    made, _, table = text.partition("\n")
    return made.removeprefix("# "), tuple(csv.DictReader(table.splitlines()))


def licence_of(name: str) -> str | None:
    """Licence that the table states for a backbone's name; None where it states none."""
    stated = (row["licence"] for row in available()[1] if row["name"] == name)
    return next((licence for licence in stated if not licence.startswith("see ")), None)


def available_lines() -> Iterator[str]:
    """The table as aligned text, one line each."""
    made, rows = available()
    yield f"{made}; parameters in millions, of the vision tower"
    shown = ("name", "parameters", "size", "licence", "gated", "methods", "source")
    cells = [dict(zip(shown, shown, strict=True)), *rows]
    widths = {column: max(len(row[column]) for row in cells) for column in shown}
    for row in cells:
        yield "  ".join(row[column].ljust(widths[column]) for column in shown).rstrip()
