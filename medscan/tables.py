"""Tables that people and their programs write as text, read row by row.

Spreadsheets and information systems save tables in several forms: cells are divided by commas,
semicolons, tabs or bars, and text is UTF-8, UTF-16 or that of western Windows. Each is recognised.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from medscan.errors import UsageError

MOST_BYTES = 64 << 20
"""Bytes that a table may have: all of it is read."""
DIVIDERS = ",;\t|"
_HEAD = 1 << 16
"""Characters of the first row at most."""


class TableRow(NamedTuple):
    """A row of a table.

    Parameters
    ----------
    number : int
        Of the row, 1 being the names of the columns.
    line : int
        Of the file, from 1, in which the row ends: a cell in quotes may have several.
    cells : dict
        Text by column, without spaces around it; empty where the row has none.
    """

    number: int
    line: int
    cells: dict[str, str]


def plain(name: str) -> str:
    """Name of a column in lower case, letters and digits alone: `Study UID` is `studyuid`."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def read_table(
    path: Path,
    columns: Mapping[str, str],
    suits: Callable[[Collection[str]], bool],
    advice: str,
) -> Iterator[TableRow]:
    """Read the rows of a table; other columns are ignored, and so are empty rows.

    Parameters
    ----------
    path : Path
    columns : mapping
        Column by each of its names, these as `plain` returns them.
    suits : callable
        Whether a table may have just these columns of `columns`.
    advice : str
        What columns it must have, as a sentence that starts with "it".

    Raises
    ------
    UsageError
        If the file cannot be read, or a row is broken; the message names the row.
    """
    text = _text_of(path)
    end = text.find("\n")
    divider, names = _columns(text[: min(end, _HEAD) if end >= 0 else _HEAD], columns)
    known = [name for name in names if name]
    if not suits(known) or len(set(known)) < len(known):
        raise UsageError(f"{path} row 1: {advice}")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=divider, strict=True)
    number = 0
    try:
        for number, row in enumerate(rows, 1):
            if any(cell.strip() for cell in row[len(names) :]):
                raise UsageError(f"{path} row {number}: it has more cells than the first row")
            cells = dict.fromkeys(known, "")
            cells |= {name: cell.strip() for name, cell in zip(names, row, strict=False) if name}
            if number > 1 and any(cells.values()):
                yield TableRow(number, rows.line_num, cells)
    except csv.Error as error:
        raise UsageError(f"{path} row {number + 1}: invalid CSV: {error}") from error


def _text_of(path: Path) -> str:
    if not path.is_file():
        raise UsageError(f"{path} does not exist or is not a file")
    try:
        with path.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise UsageError(f"{path} has more than {MOST_BYTES >> 20} MiB: divide it")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _columns(head: str, columns: Mapping[str, str]) -> tuple[str, list[str]]:
    """The divider that gives most known columns, and every column's name; unknown ones are empty.

    A line that no divider takes apart has no columns.
    """
    found = []
    for divider in DIVIDERS:
        try:
            cells = next(csv.reader([head.rstrip("\r")], delimiter=divider), [])
        except csv.Error:
            continue
        found.append((divider, [columns.get(plain(cell), "") for cell in cells]))
    return max(found, key=lambda one: sum(map(bool, one[1])), default=(",", []))


__all__ = ["TableRow", "plain", "read_table"]
