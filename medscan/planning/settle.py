"""Studies that are still arriving are left for the next scan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from medscan.archive import ArchiveFile, Bucket, Catalogue, Outcome, Pseudonyms, Reason, Study
from medscan.planning.plan import FindWork
from medscan.results import Work


def settled(catalogue: Catalogue, settle_s: float, now_ns: int) -> tuple[Catalogue, int]:
    """Set aside whatever belongs to a study with a file that is too young.

    A file set aside as broken is taken to be half-written as long as it is young.

    Parameters
    ----------
    catalogue : Catalogue
    settle_s : float
        Seconds since a file was last written, from which on it counts as whole; 0: all do.
    now_ns : int
        Nanoseconds since the epoch; a file from the future is young.

    Returns
    -------
    (Catalogue, int)
        With the settled studies only, and the number of the others.
    """
    if settle_s <= 0:
        return catalogue, 0
    oldest = now_ns - round(settle_s * 1e9)
    young = _young(catalogue, oldest)
    named = {o.study for o in catalogue.set_aside if o.study and o.file in young}
    held = {s.key: s for s in catalogue.studies if s.uid in named or young.intersection(s.files())}
    named |= {study.uid for study in held.values() if study.uid}
    aside = [_aside(outcome, young, named) for outcome in catalogue.set_aside]
    return _without(catalogue, held, aside), len(held)


def listed(
    catalogue: Catalogue,
    walked: Sequence[ArchiveFile | Outcome],
    find_work: FindWork,
    pseudonyms: Pseudonyms,
) -> tuple[Catalogue, int]:
    """Set aside studies with a known file in a folder that the walk could not list.

    What is seen of them is not all: their results stay as they are until it can be.

    Returns
    -------
    (Catalogue, int)
        Without them, and their number.
    """
    given_up = (item for item in walked if isinstance(item, Outcome))
    unread = [o.file for o in given_up if o.reason is Reason.UNREADABLE]
    folders = {(pseudonyms.root(f), f"{pseudonyms.path(f.path)}/") for f in unread}
    if not folders:
        return catalogue, 0
    held = {s.key: s for s in catalogue.studies if _is_below(find_work(s.key), folders)}
    why = "a folder of its study could not be listed"
    return _without(catalogue, held, catalogue.set_aside, why), len(held)


def _is_below(work: Work | None, folders: set[tuple[str, str]]) -> bool:
    """Whether a result is of a file below one of the folders."""
    if work is None:
        return False
    tops = tuple(folder for root, folder in folders if root == work.root)
    return any(path.startswith(tops) for path, _, _ in work.outcomes)


def _without(
    catalogue: Catalogue, held: Mapping[str, Study], aside: Iterable[Outcome], why: str = ""
) -> Catalogue:
    """The catalogue with studies set aside."""
    found = [*aside, *(outcome for study in held.values() for outcome in _outcomes(study, why))]
    return replace(
        catalogue,
        studies=tuple(study for study in catalogue.studies if study.key not in held),
        set_aside=tuple(sorted(found, key=lambda outcome: outcome.file)),
    )


def _young(catalogue: Catalogue, oldest: int) -> set[ArchiveFile]:
    """Files last written after `oldest`, and headers whose voxels were."""
    files = [f for study in catalogue.studies for f in study.files()]
    files += [outcome.file for outcome in catalogue.set_aside]
    young = {file for file in files if file.mtime_ns > oldest}
    return young | {h for c, h in catalogue.companions.items() if c.mtime_ns > oldest}


def _aside(outcome: Outcome, young: set[ArchiveFile], named: set[str]) -> Outcome:
    broken = outcome.file in young and outcome.bucket is Bucket.FAILED
    if broken or outcome.study in named:
        return replace(outcome, reason=Reason.ARRIVING)
    return outcome


def _outcomes(study: Study, why: str) -> Iterable[Outcome]:
    """One for each file of a study that is held."""
    return {
        frame.file: Outcome(frame.file, Reason.ARRIVING, why, study.uid, series.uid)
        for series in study.series
        for stack in series.stacks
        for frame in stack.frames
    }.values()
