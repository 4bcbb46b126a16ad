"""Which files of a folder are a report's, so that a later one takes their place."""

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
MARK = '<meta name="generator" content="medscan">'
"""By this a page is known to be a report's."""
HEAD = 4096
"""Bytes of a file that its mark is looked for in."""
_SHELL = {INDEX, RUN, STYLE, SCRIPT}
_PAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\.html")
_PICTURE = re.compile(r"icon\.jpg|[A-Za-z0-9][A-Za-z0-9_-]{0,63}-[0-9]{4,}\.jpg")
_PART = re.compile(r"\.(.+)\.[0-9]+\.part")
"""What `medscan.files.replacing` leaves when it is killed."""


def claim(out: Path) -> None:
    """Make a folder for a report; one that holds a report already, whole or not, is taken over.

    Raises
    ------
    UsageError
        It holds something else.
    DiskError
        It could not be made or read.
    """
    make_folder(out)
    with _disk(out):
        index, names = out / INDEX, {_whole(path.name) for path in out.iterdir()}
        ours = _marked(index) if index.is_file() else names <= {*_SHELL, STUDIES}
    if not ours:
        raise UsageError(f"{out} is not empty and holds no report; name another folder")


def remove_old_pages(out: Path, written: Set[Path]) -> None:
    """Remove pages, pictures and unfinished files of earlier reports, but not those written now.

    Raises
    ------
    DiskError
        One could not be read or removed.
    """
    with _disk(out):
        for path in [*_files(out, written), *_unfinished(out)]:
            path.unlink()
        for folder in (*_folders(out / STUDIES), out / STUDIES):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def remove_old_tables(out: Path, written: Set[Path]) -> None:
    """Remove tables of earlier reports, but not those written now.

    Raises
    ------
    DiskError
        One could not be read or removed.
    """
    with _disk(out):
        for name, table in TABLES.items():
            for path in {out / f"{name}.csv", out / f"{name}.jsonl"} - written:
                if path.is_file() and _columns(path)[:3] == list(table.columns)[:3]:
                    path.unlink()


def _files(out: Path, written: Set[Path]) -> list[Path]:
    """Pages and pictures that bear medscan's mark, and what such pages load; none written now."""
    shell = (out / RUN, out / STYLE, out / SCRIPT)
    found = [p for p in shell if p.is_file() and p not in written] if _marked(out / RUN) else []
    pages = set((out / STUDIES).glob("*.html")) - written
    found += [p for p in pages if _PAGE.fullmatch(p.name) and _marked(p)]
    for folder in _folders(out / STUDIES):
        pictures = set(folder.glob("*.jpg")) - written
        found += [p for p in pictures if _PICTURE.fullmatch(p.name) and _drawn(p)]
    return found


def _unfinished(out: Path) -> list[Path]:
    """What writing a report left when it was killed."""
    studies = out / STUDIES
    found = (p for folder in (out, studies, *_folders(studies)) for p in folder.glob(".*.part"))
    return [p for p in found if _ours(_whole(p.name)) and not _ours(p.name)]


def _folders(studies: Path) -> list[Path]:
    return [p for p in studies.glob("*") if p.is_dir() and not p.is_symlink()]


def _ours(name: str) -> bool:
    tables = {f"{table}.{kind}" for table in TABLES for kind in ("csv", "jsonl")}
    return name in _SHELL | tables or bool(_PAGE.fullmatch(name) or _PICTURE.fullmatch(name))


def _whole(name: str) -> str:
    """What an unfinished file was to become; other names as they are."""
    part = _PART.fullmatch(name)
    return part[1] if part else name


def _marked(page: Path) -> bool:
    return page.is_file() and MARK.encode() in _head(page)


def _drawn(picture: Path) -> bool:
    return picture.is_file() and MAKER.encode() in _head(picture)


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEAD)


def _columns(path: Path) -> list[str]:
    """Names in the first row of a table; none where it has no row."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        line = stream.readline(HEAD)
    if path.suffix == ".csv":
        return line.rstrip().split(",")
    try:
        return list(json.loads(line))
    except (ValueError, TypeError):
        return []


@contextmanager
def _disk(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(f"{out} could not be tidied: {error.strerror}: {error.filename}") from error
