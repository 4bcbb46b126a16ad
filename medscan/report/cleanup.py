"""Which files of a folder belong to a report, so that a later report can replace them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path

from medscan.archive import MAKER
from medscan.errors import DiskError, UsageError
from medscan.files import make_folder
from medscan.report.page import SCRIPT, STYLE
from medscan.report.table import TABLES

INDEX, RUN, STUDIES = "index.html", "run.html", "studies"
GENERATOR = '<meta name="generator" content="medscan">'
"""Marks a page as part of a report."""
HEAD = 4096
"""Bytes at the start of a file that are searched for its mark."""
_SHELL = {INDEX, RUN, STYLE, SCRIPT}
_PAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.html")
_PICTURE = re.compile(r"icon\.jpg|[A-Za-z0-9][A-Za-z0-9_-]{0,63}-[0-9]{4,}\.(?:jpg|js)")
_UNFINISHED = re.compile(r"\.(.{1,255})\.[0-9]{1,20}\.part")
"""What `medscan.files.replacing` leaves when it is killed."""


def claim_folder(out: Path) -> None:
    """Make a folder for a report, or take over one that holds a report, complete or not.

    Raises
    ------
    UsageError
        If the folder holds anything else.
    DiskError
        If it cannot be made or read.
    """
    make_folder(out)
    with _disk_errors(out):
        index, names = out / INDEX, {_finished_name(path.name) for path in out.iterdir()}
        # A report that was killed early has no index yet, but nothing foreign either.
        ours = _is_our_page(index) if index.is_file() else names <= {*_SHELL, STUDIES}
    if not ours:
        raise UsageError(f"{out} is not empty and holds no report; name another folder")


def remove_old_pages(out: Path, written: Set[Path]) -> None:
    """Remove pages, pictures and unfinished files of earlier reports, except those just written.

    Raises
    ------
    DiskError
        If a file cannot be read or removed.
    """
    with _disk_errors(out):
        for path in [*_old_files(out, written), *_unfinished_files(out)]:
            path.unlink()
        for folder in (*_picture_folders(out / STUDIES), out / STUDIES):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def remove_old_tables(out: Path, written: Set[Path]) -> None:
    """Remove tables of earlier reports, except those just written.

    Raises
    ------
    DiskError
        If a table cannot be read or removed.
    """
    with _disk_errors(out):
        for name, table in TABLES.items():
            for path in {out / f"{name}.csv", out / f"{name}.jsonl"} - written:
                # A user's file may have the name of a table, but hardly its columns.
                if path.is_file() and _read_columns(path)[:3] == list(table.columns)[:3]:
                    path.unlink()


def _old_files(out: Path, written: Set[Path]) -> list[Path]:
    """Pages and pictures with medscan's mark, and the assets of such pages, except those written.

    Style sheet and script carry no mark: they go with a run page that does.
    """
    shell = (out / RUN, out / STYLE, out / SCRIPT) if _is_our_page(out / RUN) else ()
    files = [p for p in shell if p.is_file() and p not in written]
    pages = set((out / STUDIES).glob("*.html")) - written
    files += [p for p in pages if _PAGE.fullmatch(p.name) and _is_our_page(p)]
    for folder in _picture_folders(out / STUDIES):
        pictures = {*folder.glob("*.jpg"), *folder.glob("*.js")} - written
        files += [p for p in pictures if _PICTURE.fullmatch(p.name) and _is_our_picture(p)]
    return files


def _unfinished_files(out: Path) -> list[Path]:
    """Files of a report that was killed while it wrote them."""
    studies = out / STUDIES
    parts = (
        p for folder in (out, studies, *_picture_folders(studies)) for p in folder.glob(".*.part")
    )
    return [p for p in parts if _is_our_name(_finished_name(p.name)) and not _is_our_name(p.name)]


def _picture_folders(studies: Path) -> list[Path]:
    return [p for p in studies.glob("*") if p.is_dir() and not p.is_symlink()]


def _is_our_name(name: str) -> bool:
    tables = {f"{table}.{kind}" for table in TABLES for kind in ("csv", "jsonl")}
    return name in _SHELL | tables or bool(_PAGE.fullmatch(name) or _PICTURE.fullmatch(name))


def _finished_name(name: str) -> str:
    """Name that an unfinished file was going to have; any other name unchanged."""
    unfinished = _UNFINISHED.fullmatch(name)
    return unfinished[1] if unfinished else name


def _is_our_page(path: Path) -> bool:
    return path.is_file() and GENERATOR.encode() in _read_head(path)


def _is_our_picture(path: Path) -> bool:
    return path.is_file() and MAKER.encode() in _read_head(path)


def is_picture_of(path: Path, source: str) -> bool:
    """Whether a file is a picture that a report drew from a source; see `source_id`.

    Raises
    ------
    DiskError
        If it cannot be read.
    """
    with _disk_errors(path.parent):
        is_file = path.is_file() and not path.is_symlink() and _is_our_picture(path)
        return is_file and source.encode() in _read_head(path)


def _read_head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEAD)


def _read_columns(path: Path) -> list[str]:
    """Column names in the first row of a table; empty if it has no row."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        line = stream.readline(HEAD)
    if path.suffix == ".csv":
        return line.rstrip().split(",")
    try:
        return list(json.loads(line))
    except (ValueError, TypeError):
        return []


@contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    """Raise errors of the operating system as `DiskError`."""
    try:
        yield
    except OSError as error:
        raise DiskError(f"{out} could not be tidied: {error.strerror}: {error.filename}") from error
