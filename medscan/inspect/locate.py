"""Find the files of a study or patient in the archive, since no output names them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from medscan.archive import ArchiveFile, Pseudonyms, walk
from medscan.results import Results, StudyResult
from medscan.text import is_uid

IDENTITIES = ("StudyInstanceUID", "patient", "patient_id", "accession_number")
"""What names a study, beside its key: attributes of its group."""

Place = tuple[str, str]
"""Keyed hash of an archive root, empty where any will do, and a path below it as results have it.
"""


def named_places(results: Results, names: Iterable[str]) -> dict[str, set[Place]]:
    """Look names up in results.

    Parameters
    ----------
    results : Results
    names : iterable of str
        Keys of studies, values of `IDENTITIES`, UIDs of series and SOP instances.

    Returns
    -------
    dict of set of Place
        For each name the places of its files; empty if the results do not know it.
    """
    found: dict[str, set[Place]] = {name: set() for name in names}
    for key, info in results.infos():
        known = {key, *(str(info.get(identity, "")) for identity in IDENTITIES)} - {""}
        for name in known & found.keys():
            found[name] |= _places(results.study(key, arrays=False))
    parts = {name for name, places in found.items() if not places and is_uid(name)}
    if parts:  # of a study: every stack has to be read
        for study in results.studies(arrays=False):
            _find_parts(study, parts, found)
    return found


def _places(study: StudyResult) -> set[Place]:
    """Places of the files that were scanned of a study, or else of all of it."""
    paths = {path for stack in study.stacks for path in stack.path} or {str(study.info["path"])}
    return {(_root(study), path) for path in paths}


def _root(study: StudyResult) -> str:
    return str(study.info.get("root", ""))


def _find_parts(study: StudyResult, names: set[str], found: dict[str, set[Place]]) -> None:
    """Add the files of series and SOP instances of a study."""
    for stack in study.stacks:
        series = str(stack.info["SeriesInstanceUID"])
        for uid, path in zip(stack.sop_instance_uid, stack.path, strict=True):
            for name in names & {uid, series}:
                found[name].add((_root(study), path))


def locate_files(
    roots: Iterable[Path], places: Collection[Place], pseudonyms: Pseudonyms
) -> Iterator[tuple[Place, Path]]:
    """Find files and folders by their pseudonyms, without opening any.

    Parameters
    ----------
    roots : iterable of Path
        Archives. Those of the scan are known by their paths; places below any other root are
        looked for below all of these, since archives move.
    places : collection of Place
    pseudonyms : Pseudonyms
        Pseudonyms with the key of that scan.

    Yields
    ------
    (Place, Path)
        A place, and the path it stands for; a place may stand for several.
    """
    tops = {top: _hash_of(top, pseudonyms) for top in {root.resolve(): None for root in roots}}
    moved = {root for root, _ in places} - set(tops.values())
    by_path: dict[Place, set[Place]] = defaultdict(set)
    for root, path in places:
        for top in tops.values() if root in moved else [root]:
            by_path[top, path].add((root, path))
    for folder, root in tops.items():
        seen: set[Path] = set()
        for item in walk(folder):
            file = item if isinstance(item, ArchiveFile) else item.file
            for name, full in _steps(file, pseudonyms):
                if full not in seen and (root, name) in by_path:
                    seen.add(full)
                    yield from ((place, full) for place in by_path[root, name])


def _hash_of(root: Path, pseudonyms: Pseudonyms) -> str:
    return pseudonyms.root(ArchiveFile("", root, 0, 0))


def _steps(file: ArchiveFile, pseudonyms: Pseudonyms) -> Iterator[tuple[str, Path]]:
    """Yield a file and its folders below the root, each as pseudonym and as plain path."""
    parts = file.path.split("/")
    for count in range(1, len(parts) + 1):
        path = "/".join(parts[:count])
        yield pseudonyms.path(path), file.root / path
        yield path, file.root / path
