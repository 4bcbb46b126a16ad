"""Read several results files as one, and select studies from them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from medscan.archive import key_of
from medscan.errors import UsageError
from medscan.results.reader import Results


def distinct(files: Iterable[Results]) -> list[Results]:
    """Return the files, last written first, restricted so that each study is in only one of them.

    A study that several files hold is taken from the newest file in which it has a score; series
    that only older files have scored are added to it. A later scan with a detector that does not
    fit the study, or fits only another of its series, therefore hides no score. A file that is
    given twice counts once.
    """
    restricted: list[Results] = []
    taken: set[str] = set()
    newest_first = sorted(set(files), key=lambda f: (f.run().created, str(f.path)), reverse=True)
    scored_by_file = [frozenset(file.scored()) for file in newest_first]
    scored_anywhere = frozenset().union(*scored_by_file)
    for index, (file, scored) in enumerate(zip(newest_first, scored_by_file, strict=True)):
        # A study that no file has scored is taken from the newest file that holds it.
        own = (scored | (frozenset(file.keys()) - scored_anywhere)) - taken
        taken |= own
        rest = zip(newest_first[index + 1 :], scored_by_file[index + 1 :], strict=True)
        older = tuple(other.path for other, other_scored in rest if other_scored & own)
        restricted.append(replace(file, only=own, older=older))
    return restricted


def select_studies(
    files: Iterable[Results], studies: Collection[str] = (), *, flagged: bool = False
) -> list[Results]:
    """Return the files as `distinct` does, restricted to some studies.

    Parameters
    ----------
    files : iterable of Results
    studies : collection of str
        Keys or StudyInstanceUIDs; empty: all.
    flagged : bool
        Select only flagged studies.

    Raises
    ------
    UsageError
        If one of `studies` is in none of the files.
    """
    selection = distinct(files)
    if studies:
        keys = {key for file in selection for key in file.keys()}  # noqa: SIM118 - not a dict
        wanted = {word: word if word in keys else key_of(word) for word in studies}
        if missing := [word for word, key in wanted.items() if key not in keys]:
            raise UsageError(f"--study {missing[0]}: no such study in {_names(selection)}")
        selection = [_restrict(file, frozenset(wanted.values())) for file in selection]
    if flagged:
        selection = [_restrict(file, frozenset(file.flagged())) for file in selection]
    return selection


def source_paths(files: Iterable[Results]) -> set[str]:
    """Return the paths, as written in the results, of all files that stacks were scanned from."""
    studies = (study for file in files for study in file.studies(arrays=False))
    return {path for study in studies for stack in study.stacks for path in stack.path}


def _restrict(file: Results, keys: frozenset[str]) -> Results:
    return replace(file, only=keys if file.only is None else file.only & keys)


def _names(files: Iterable[Results]) -> str:
    return ", ".join(sorted(str(file.path) for file in files))
