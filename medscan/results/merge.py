"""Several results files read as one, and the studies of them that are asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from medscan.archive import key_of
from medscan.errors import UsageError
from medscan.results.reader import Results


def distinct(files: Iterable[Results]) -> list[Results]:
    """The same files, last written first, with every study in one of them only.

    A study that several files hold is taken from the one that was written last of those in which
    it has a score, with the series that only older ones score: a scan with a detector that is not
    for it, or only for another of its series, hides nothing. A file that is given twice counts
    once.
    """
    found: list[Results] = []
    taken: set[str] = set()
    ordered = sorted(set(files), key=lambda f: (f.run().created, str(f.path)), reverse=True)
    scores = [frozenset(file.scored()) for file in ordered]
    scored = frozenset().union(*scores)
    for place, (file, theirs) in enumerate(zip(ordered, scores, strict=True)):
        own = (theirs | (frozenset(file.keys()) - scored)) - taken
        taken |= own
        rest = zip(ordered[place + 1 :], scores[place + 1 :], strict=True)
        older = tuple(other.path for other, held in rest if held & own)
        found.append(replace(file, only=own, older=older))
    return found


def selected(
    files: Iterable[Results], studies: Collection[str] = (), *, flagged: bool = False
) -> list[Results]:
    """What `distinct` gives, with no studies but those asked for.

    Parameters
    ----------
    files : iterable of Results
    studies : collection of str
        Keys or StudyInstanceUIDs; empty: all.
    flagged : bool
        Only those that are flagged.

    Raises
    ------
    UsageError
        None of the files holds one of `studies`.
    """
    found = distinct(files)
    if studies:
        held = {key for file in found for key in file.keys()}  # noqa: SIM118 - not a dict
        wanted = {word: word if word in held else key_of(word) for word in studies}
        if lost := [word for word, key in wanted.items() if key not in held]:
            raise UsageError(f"--study {lost[0]}: no such study in {_names(found)}")
        found = [_only(file, frozenset(wanted.values())) for file in found]
    if flagged:
        found = [_only(file, frozenset(file.flagged())) for file in found]
    return found


def paths(files: Iterable[Results]) -> set[str]:
    """Paths, as the results have them, of all files that stacks were scanned from."""
    studies = (study for file in files for study in file.studies(arrays=False))
    return {path for study in studies for stack in study.stacks for path in stack.path}


def _only(file: Results, keys: frozenset[str]) -> Results:
    return replace(file, only=keys if file.only is None else file.only & keys)


def _names(files: Iterable[Results]) -> str:
    return ", ".join(sorted(str(file.path) for file in files))
