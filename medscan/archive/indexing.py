"""Walk, read and group: an archive's catalogue in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from medscan.archive.grouping import group
from medscan.archive.header import Header, from_json, to_json
from medscan.archive.read import read_header
from medscan.archive.types import ArchiveFile, Catalogue, Outcome, Plane, Reason
from medscan.archive.walk import walk


class HeaderCache(Protocol):
    """Remembers headers by root, path, size and modification time."""

    def get(self, file: ArchiveFile) -> dict[str, Any] | None:
        """What was put for this very file, or None."""

    def put(self, file: ArchiveFile, header: dict[str, Any]) -> None:
        """Remember what `to_json` made."""


def index(
    roots: Iterable[Path],
    plane: Plane | None = None,
    cache: HeaderCache | None = None,
    progress: Callable[[int], None] | None = None,
) -> Catalogue:
    """Find out what archives hold.

    Parameters
    ----------
    roots : iterable of Path
        Folders or files. One that lies within another is walked with it, once.
    plane : Plane or None
        To cut volume files in.
    cache : HeaderCache or None
        Files that it knows are not opened.
    progress : callable or None
        Called with the number of files so far, after each.

    Returns
    -------
    Catalogue
    """
    found: list[Header | Outcome] = []
    for item in _walk_all(roots):
        found.append(item if isinstance(item, Outcome) else header_of(item, cache))
        if progress is not None:
            progress(len(found))
    return group(found, plane)


def header_of(file: ArchiveFile, cache: HeaderCache | None = None) -> Header | Outcome:
    """Header of a file, from the cache if it is there; what cannot be read is not remembered."""
    known = cache.get(file) if cache is not None else None
    header = from_json(file, known) if known is not None else None
    if header is not None:
        return header
    found = read_header(file)
    unreadable = isinstance(found, Outcome) and found.reason is Reason.UNREADABLE
    if cache is not None and not unreadable:
        cache.put(file, to_json(found))
    return found


def _walk_all(roots: Iterable[Path]) -> Iterator[ArchiveFile | Outcome]:
    tops = sorted({root.resolve() for root in roots})
    for top in tops:
        if not any(top != other and top.is_relative_to(other) for other in tops):
            yield from walk(top)
