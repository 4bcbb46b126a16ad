"""The accounting: a row a file, by path."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from medscan.archive import Bucket
from medscan.report.table import Value, write_table

if TYPE_CHECKING:
    from medscan.planning import FileEntry

COLUMNS: dict[str, str] = {
    "path": "Path below the archive root; each name a hash, unless the scan was told otherwise.",
    "bucket": "scanned, skipped or failed.",
    "reason": "Why it was skipped or failed; empty when it was scanned.",
    "study": "StudyInstanceUID, where it is known.",
    "series": "SeriesInstanceUID, where it is known.",
    "stack": "Key of its stack in the results file; empty when it is in none.",
    "index": "Place in the stack, from 0, of the file's first frame.",
    "detail": "The reason in words.",
}
"""Columns of the table, in their order, and what each says."""


def write_accounting(entries: Iterable[FileEntry], path: Path) -> None:
    """Write what became of every file as UTF-8 CSV with the columns of `COLUMNS`.

    Names with control characters or bytes that are not UTF-8 are escaped, so that a file is a
    line, and text that a spreadsheet would run is defused with an apostrophe.

    Parameters
    ----------
    entries : iterable of FileEntry
        In the order of the rows.
    path : Path
        Replaced in one rename.

    Raises
    ------
    DiskError
        It could not be written.
    """
    write_table(path, COLUMNS, (_values(entry) for entry in entries))


def _values(entry: FileEntry) -> list[Value]:
    outcome = entry.outcome
    return [
        outcome.file.path,
        str(outcome.bucket),
        "" if outcome.bucket is Bucket.SCANNED else str(outcome.reason),
        outcome.study,
        outcome.series,
        entry.stack,
        entry.index,
        outcome.detail,
    ]
