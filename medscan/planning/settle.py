"""Leave studies that are still arriving for the next scan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from medscan.archive import ArchiveFile, Bucket, Catalogue, Outcome, Pseudonyms, Reason, Study
from medscan.planning.plan import FindWork
from medscan.results import Work


def hold_back_arriving(catalogue: Catalogue, settle_s: float, now_ns: int) -> tuple[Catalogue, int]:
    """Set aside every study with a file that was modified too recently.

    A broken file counts as half-written while it is that young.

    Parameters
    ----------
    catalogue : Catalogue
    settle_s : float
        Seconds after its last modification from which a file counts as complete; 0: at once.
    now_ns : int
        Nanoseconds since the epoch; a file from the future is young.

    Returns
    -------
    (Catalogue, int)
        The catalogue without these studies, and their number.
    """
    if settle_s <= 0:
        return catalogue, 0
    newest_ns = now_ns - round(settle_s * 1e9)
    young = _young_files(catalogue, newest_ns)
    # A file set aside for another reason also says that its study is still arriving.
    uids = {o.study for o in catalogue.set_aside if o.study and o.file in young}
    held = {s.key: s for s in catalogue.studies if s.uid in uids or young.intersection(s.files())}
    uids |= {study.uid for study in held.values() if study.uid}
    outcomes = [_updated_outcome(outcome, young, uids) for outcome in catalogue.set_aside]
    return _set_aside(catalogue, held, outcomes), len(held)


def hold_back_unlisted(
    catalogue: Catalogue,
    walked: Sequence[ArchiveFile | Outcome],
    find_work: FindWork,
    pseudonyms: Pseudonyms,
) -> tuple[Catalogue, int]:
    """Set aside studies with an earlier result from a folder that the walk could not list.

    Only some of their files were seen: their results stay as they are until the folder can be
    listed again.

    Returns
    -------
    (Catalogue, int)
        The catalogue without these studies, and their number.
    """
    outcomes = (item for item in walked if isinstance(item, Outcome))
    unreadable = [o.file for o in outcomes if o.reason is Reason.UNREADABLE]
    folders = {(pseudonyms.root(f), f"{pseudonyms.path(f.path)}/") for f in unreadable}
    if not folders:
        return catalogue, 0
    held = {s.key: s for s in catalogue.studies if _is_below(find_work(s.key), folders)}
    why = "a folder of its study could not be listed"
    return _set_aside(catalogue, held, catalogue.set_aside, why), len(held)


def _is_below(work: Work | None, folders: set[tuple[str, str]]) -> bool:
    """Whether a result was made from a file below one of the folders."""
    if work is None:
        return False
    tops = tuple(folder for root, folder in folders if root == work.root)
    return any(path.startswith(tops) for path, _, _ in work.outcomes)


def _set_aside(
    catalogue: Catalogue, held: Mapping[str, Study], outcomes: Iterable[Outcome], why: str = ""
) -> Catalogue:
    """Move the held studies from a catalogue's studies to its files set aside."""
    held_outcomes = (outcome for study in held.values() for outcome in _outcomes(study, why))
    return replace(
        catalogue,
        studies=tuple(study for study in catalogue.studies if study.key not in held),
        set_aside=tuple(sorted([*outcomes, *held_outcomes], key=lambda outcome: outcome.file)),
    )


def _young_files(catalogue: Catalogue, newest_ns: int) -> set[ArchiveFile]:
    """Return files modified after `newest_ns`, and headers whose voxel files were."""
    files = [f for study in catalogue.studies for f in study.files()]
    files += [outcome.file for outcome in catalogue.set_aside]
    young = {file for file in files if file.mtime_ns > newest_ns}
    return young | {h for c, h in catalogue.companions.items() if c.mtime_ns > newest_ns}


def _updated_outcome(outcome: Outcome, young: set[ArchiveFile], uids: set[str]) -> Outcome:
    """Change the reason of a file set aside if it, or the rest of its study, is still arriving."""
    broken = outcome.file in young and outcome.bucket is Bucket.FAILED
    if broken or outcome.study in uids:
        return replace(outcome, reason=Reason.ARRIVING)
    return outcome


def _outcomes(study: Study, why: str) -> Iterable[Outcome]:
    """Return an outcome for each file of a held study."""
    return {
        frame.file: Outcome(frame.file, Reason.ARRIVING, why, study.uid, series.uid)
        for series in study.series
        for stack in series.stacks
        for frame in stack.frames
    }.values()
