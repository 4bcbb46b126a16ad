"""Which files hashed paths stand for: asked of the archive, for no output says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from medscan.archive import ArchiveFile, Pseudonyms, walk


def locate_files(
    roots: Iterable[Path], names: Iterable[str], pseudonyms: Pseudonyms
) -> Iterator[tuple[str, Path]]:
    """Find files and folders by their pseudonyms; none is opened.

    Parameters
    ----------
    roots : iterable of Path
        Archives, as they were given to the scan.
    names : iterable of str
        Paths as tables and logs hold them.
    pseudonyms : Pseudonyms
        With the key of that scan.

    Yields
    ------
    (str, Path)
        A name, and where what it stands for lies; every one that there is.
    """
    wanted, told = set(names), set()
    for file in (found for root in roots for found in walk(root)):
        plain = file if isinstance(file, ArchiveFile) else file.file
        for name, path in _steps(plain, pseudonyms):
            if name in wanted and path not in told:
                told.add(path)
                yield name, path


def _steps(file: ArchiveFile, pseudonyms: Pseudonyms) -> Iterator[tuple[str, Path]]:
    """A file and the folders above it, below the root, by both names that they have."""
    parts = file.path.split("/")
    for count in range(1, len(parts) + 1):
        path = "/".join(parts[:count])
        yield pseudonyms.path(path), file.root / path
        yield path, file.root / path
