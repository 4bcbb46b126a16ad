"""Find the files that hashed paths stand for in the archive, since no output names them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from medscan.archive import ArchiveFile, Pseudonyms, walk


def locate_files(
    roots: Iterable[Path], names: Iterable[str], pseudonyms: Pseudonyms
) -> Iterator[tuple[str, Path]]:
    """Find files and folders by their pseudonyms, without opening any.

    Parameters
    ----------
    roots : iterable of Path
        Archives, as they were given to the scan.
    names : iterable of str
        Paths as tables and logs show them.
    pseudonyms : Pseudonyms
        Pseudonyms with the key of that scan.

    Yields
    ------
    (str, Path)
        A name, and the path it stands for; a name may stand for several.
    """
    wanted, located = set(names), set()
    for item in (item for root in roots for item in walk(root)):
        file = item if isinstance(item, ArchiveFile) else item.file
        for name, path in _steps(file, pseudonyms):
            if name in wanted and path not in located:
                located.add(path)
                yield name, path


def _steps(file: ArchiveFile, pseudonyms: Pseudonyms) -> Iterator[tuple[str, Path]]:
    """Yield a file and its folders below the root, each as pseudonym and as plain path."""
    parts = file.path.split("/")
    for count in range(1, len(parts) + 1):
        path = "/".join(parts[:count])
        yield pseudonyms.path(path), file.root / path
        yield path, file.root / path
