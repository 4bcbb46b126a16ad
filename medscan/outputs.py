"""Outputs that would destroy what is read, or what medscan did not write: refused before any work.

Files are compared as the system sees them: links and other spellings of a path hide nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from medscan.archive import content_of
from medscan.errors import UsageError

_LOG_BEGINS = b'{"time": '
"""How every line of `medscan.logfile` begins."""
_SQLITE = b"SQLite format 3\0"
_APPLICATION = slice(68, 72)
"""Bytes of a SQLite file in which other programs, and a history, say whose it is."""

_WORKLISTS = {".csv": b"rank,study,", ".html": b'name="generator" content="medscan"'}
"""What the beginnings of worklists hold."""


def keep_apart(outputs: Mapping[str, Path | None], inputs: Iterable[Path | None] = ()) -> None:
    """Refuse an output that is an input, an image, or the file of another output.

    Parameters
    ----------
    outputs : mapping of str to Path or None
        Files to write, by the option that names each; None: not written.
    inputs : iterable of Path or None
        Files that are read; folders among them do not count.

    Raises
    ------
    UsageError
        If there is one.
    """
    read, taken = [path for path in inputs if path is not None], list[Path]()
    for option, path in outputs.items():
        if path is None:
            continue
        if any(_are_same(path, other) for other in read):
            raise UsageError(f"{option} {path}: that file is read; name another one to write")
        if any(_are_same(path, other) for other in taken):
            raise UsageError(f"{option} {path}: this command itself writes that file; name another")
        content = content_of(path) if path.is_file() else None
        # Without its preamble, DICOM is only guessed at: lengths in a detector can look like it.
        if content is not None and content.kind is not None and not content.bare:
            raise UsageError(f"{option} {path}: an image is there; name another file to write")
        taken.append(path)


def check_detector(path: Path, inputs: Iterable[Path | None], option: str = "--out") -> None:
    """Refuse a detector file that could not be written, or would replace what is read for it.

    Raises
    ------
    UsageError
        If it is no regular file, has no folder, or is one of the inputs; see `keep_apart`.
    """
    if not path.parent.is_dir() or path.is_dir() or path.is_symlink():
        raise UsageError(f"{option} {path}: its folder must exist and it must be a regular file")
    keep_apart({option: path}, inputs)


def labelled(*data: Path | None) -> list[Path]:
    """Files that are read as labels, or to find labels: manifests, and `cases.csv` of folders."""
    given = [path for path in data if path is not None]
    return [*given, *(path / "cases.csv" for path in given)]


def _are_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist yet
        return one.resolve() == other.resolve()


def check_log(path: Path) -> None:
    """Refuse to append a log to anything but a log of medscan or an empty file.

    Raises
    ------
    UsageError
        If the file is something else.
    """
    _check_begins(path, _LOG_BEGINS, "--log-file", "log")


def check_history(path: Path) -> None:
    """Refuse a history that is none before the scan, instead of after it.

    Raises
    ------
    UsageError
        If the file is neither empty nor a SQLite database.
    """
    _check_begins(path, _SQLITE, "--history", "history")


def check_ledger(path: Path) -> None:
    """Refuse a named ledger that never was one: a scan moves damaged ledgers out of its way.

    Raises
    ------
    UsageError
        If the file is neither empty nor a ledger, whole or damaged behind its first bytes.
    """
    head = _head(path)
    if head and not (head.startswith(_SQLITE) and not any(head[_APPLICATION])):
        raise UsageError(
            f"--ledger {path} is no ledger of medscan; name a new file, or if it was one, move it "
            "away: the scan makes it again from the results"
        )


def check_worklist(path: Path) -> None:
    """Refuse to replace a table or page that is no worklist. Of a link, nothing but itself goes.

    Raises
    ------
    UsageError
        If the file is something else.
    """
    head = b"" if path.is_symlink() else _head(path, 4096)
    if head and _WORKLISTS[path.suffix] not in head:
        raise UsageError(f"{path} is no worklist, and a scan would replace it; give another --out")


def _check_begins(path: Path, begins: bytes, option: str, what: str) -> None:
    head = _head(path)
    if head and not head.startswith(begins):
        raise UsageError(f"{option} {path} is no {what} of medscan; name a new file")


def _head(path: Path, count: int = 100) -> bytes:
    """Return the first bytes of a regular file; none if it does not exist or cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(count)
    except OSError:
        return b""
