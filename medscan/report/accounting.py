"""The accounting: one row per file, ordered by path."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from medscan.archive import Bucket
from medscan.report.table import Value, write_table

if TYPE_CHECKING:
    from medscan.planning import FileEntry

COLUMNS: dict[str, str] = {
    "path": "Path below the archive root, names hashed unless the scan ran with --no-hash-paths.",
    "bucket": "scanned, skipped or failed.",
    "reason": "Why it was skipped or failed; empty for a scanned file.",
    "study": "StudyInstanceUID, if known.",
    "series": "SeriesInstanceUID, if known.",
    "stack": "Key of its stack in the results file; empty without one.",
    "index": "Index in the stack, from 0, of the file's first frame.",
    "detail": "The reason in words.",
}
"""Meaning of each column, in the order of the table."""


def write_accounting(entries: Iterable[FileEntry], path: Path) -> None:
    """Write the fate of every file as UTF-8 CSV with the columns of `COLUMNS`.

    Control characters and bytes that are not UTF-8 are escaped, so that each file is one line.
    Text that a spreadsheet would run as a formula gets a leading apostrophe.

    Parameters
    ----------
    entries : iterable of FileEntry
        In the order of the rows.
    path : Path
        Replaced in one rename.

    Raises
    ------
    DiskError
        If the table cannot be written.
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
