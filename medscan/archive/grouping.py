"""Headers -> catalogue: studies, series and stacks, and every file in exactly one place."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from medscan.archive.beside import join_sidecars
from medscan.archive.bids import study_path
from medscan.archive.bounds import file_refusal, study_refusal
from medscan.archive.copies import Judge, set_copies_aside
from medscan.archive.header import NOTHING, Header, Record, Stated
from medscan.archive.nifti import voxel_names
from medscan.archive.stacks import dicom_stacks, volume_stacks
from medscan.archive.types import ArchiveFile, Catalogue, Kind, Outcome, Reason, Series, Study
from medscan.choices import Bounds, Plane
from medscan.errors import CorruptError


def group(
    records: Iterable[Record],
    plane: Plane | None = None,
    name: Callable[[str], str] = str,
    bounds: Bounds | None = None,
    stated: Stated = NOTHING,
    judge: Judge | None = None,
) -> Catalogue:
    """Group the records of files into a catalogue.

    Parameters
    ----------
    records : iterable of Header, Outcome or Sidecar
        One for each file, in any order: the catalogue does not depend on it.
    plane : Plane or None
        Plane to cut volume files in; None: perpendicular to their largest spacing.
    name : callable
        Replaces a path in the keys of studies and stacks that have no UID.
    bounds : Bounds or None
        Bounds beyond which files and studies are set aside; None: there are none.
    stated : Stated
        What is stated of all images that are not DICOM.
    judge : Judge or None
        Chooses between files of one SOP instance whose content differs; None: the first is kept.

    Returns
    -------
    Catalogue
    """
    ordered = sorted(join_sidecars(records, stated), key=lambda record: record.file)
    headers = [record for record in ordered if isinstance(record, Header)]
    outcomes = {record.file: record for record in ordered if isinstance(record, Outcome)}
    headers, companions, orphans = _pair(headers, outcomes)
    headers, copies = set_copies_aside(headers, judge)
    headers, refused = _set_refused_aside(headers, plane, bounds)
    studies, broken = _studies(headers, plane, name, bounds)
    for outcome in (*orphans, *copies, *refused, *broken):
        outcomes[outcome.file] = outcome
    for companion in companions:
        outcomes.pop(companion, None)
    return Catalogue(studies, tuple(outcomes[file] for file in sorted(outcomes)), companions)


def key_of(identity: str) -> str:
    """Hash a UID or path to a name of 16 hexadecimal digits, which is safe anywhere."""
    return hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _pair(
    headers: list[Header], outcomes: dict[ArchiveFile, Outcome]
) -> tuple[list[Header], dict[ArchiveFile, ArchiveFile], list[Outcome]]:
    """Find the voxel file of each header file that needs one.

    Returns
    -------
    (list of Header, dict, list of Outcome)
        Headers to keep, header file by voxel file, and outcomes of headers without voxels.
    """
    by_path = {(o.file.root, o.file.path): o for o in outcomes.values()}
    kept: list[Header] = []
    companions: dict[ArchiveFile, ArchiveFile] = {}
    orphans: list[Outcome] = []
    for header in headers:
        volume = header.volume
        if volume is None or not volume.companion:
            kept.append(header)
            continue
        voxels = _voxel_file(header, by_path)
        problem = _voxel_problem(voxels, volume.data_bytes)
        if problem:
            orphans.append(Outcome(header.file, Reason.TRUNCATED, problem))
        else:
            kept.append(header)
        if voxels is not None and voxels in outcomes:
            companions.setdefault(voxels, header.file)
    return kept, companions, orphans


def _voxel_file(header: Header, by_path: dict[tuple[Path, str], Outcome]) -> ArchiveFile | None:
    """The file with a header's voxels: one of the walk, or (if the root is a file) one on disk."""
    path = PurePosixPath(header.volume.companion if header.volume else "")
    pair = voxel_names(header.file.path) if header.kind is Kind.NIFTI else (path.name,)
    for name in (str(path.with_name(n)) for n in pair):
        walked = by_path.get((header.file.root, name))
        if walked is not None and walked.reason is not Reason.UNREADABLE:
            return walked.file
        if walked is None and (status := _regular_status(header.file.root / name)):
            return ArchiveFile(name, header.file.root, status.st_size, status.st_mtime_ns)
    return None


def _regular_status(path: Path) -> os.stat_result | None:
    try:
        status = path.lstat()
    except (OSError, ValueError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _voxel_problem(voxels: ArchiveFile | None, needed: int) -> str:
    if voxels is None:
        return "the file with its voxels is missing"
    if voxels.size < needed and not voxels.path.endswith(".gz"):
        return f"{needed} bytes of voxels are declared, {voxels.size} are there"
    return ""


def _set_refused_aside(
    headers: list[Header], plane: Plane | None, bounds: Bounds | None
) -> tuple[list[Header], list[Outcome]]:
    """Take out files that are beyond the bounds on a file."""
    if bounds is None:
        return headers, []
    refusals = [file_refusal(header, plane, bounds) for header in headers]
    kept = [h for h, refusal in zip(headers, refusals, strict=True) if refusal is None]
    return kept, [refusal for refusal in refusals if refusal is not None]


def identity_of(file: ArchiveFile, study: str = "", series: str = "") -> str:
    """Name that the files of a study share on every machine, wherever the archive is mounted.

    Its UID, else its series' UID, else a path below the archive root: the session's in a BIDS data
    set, or the file's.
    """
    return study or (f"series:{series}" if series else f"path:{study_path(file, file.path)}")


def _studies(
    headers: list[Header],
    plane: Plane | None,
    name: Callable[[str], str],
    bounds: Bounds | None,
) -> tuple[tuple[Study, ...], list[Outcome]]:
    groups: defaultdict[str, list[Header]] = defaultdict(list)
    for header in headers:
        identity = identity_of(header.file, header.study_uid, header.series_uid)
        if identity.startswith("path:"):
            # The same path below another root is another study: the full path names it.
            identity = f"path:{name(study_path(header.file, str(header.file.full)))}"
        groups[identity].append(header)
    studies: list[Study] = []
    broken: list[Outcome] = []
    for identity, members in sorted(groups.items()):
        kept, refused = _within_bounds(identity, members, plane, bounds)
        series, failed = _all_series(kept, plane, name)
        broken += refused + failed
        if series:
            studies.append(_study(identity, kept, series))
    return tuple(studies), broken


def _within_bounds(
    identity: str, members: list[Header], plane: Plane | None, bounds: Bounds | None
) -> tuple[list[Header], list[Outcome]]:
    """The files of a study, or none if it is too large; a session of BIDS is bounded file by file.

    Sessions hold long series that no detector is for, beside the one image that one is.
    """
    if bounds is None:
        return members, []
    alone = identity.startswith("path:")
    parts = [[member] for member in members] if alone else [members]
    refused = [outcome for part in parts for outcome in study_refusal(part, plane, bounds)]
    files = {outcome.file for outcome in refused}
    return [member for member in members if member.file not in files], refused


def _all_series(
    members: list[Header], plane: Plane | None, name: Callable[[str], str]
) -> tuple[list[Series], list[Outcome]]:
    """Series of a study, and outcomes of volume files that contradict themselves."""
    groups: defaultdict[str, list[Header]] = defaultdict(list)
    for header in members:
        groups[header.series_uid or f"path:{name(header.file.path)}"].append(header)
    series: list[Series] = []
    broken: list[Outcome] = []
    for uid, headers in groups.items():
        try:
            series.append(_series(uid, headers, plane))
        except CorruptError as error:  # only a volume file raises it, and is a series by itself
            broken += (Outcome(h.file, Reason.CORRUPT, str(error)) for h in headers)
    series.sort(key=lambda s: (s.number is None, s.number or 0, s.stacks[0].key))
    return series, broken


def _study(identity: str, members: list[Header], series: list[Series]) -> Study:
    return Study(
        key=key_of(identity),
        # The same in all members, unless a malformed UID imitates another study's identity.
        uid=max(h.study_uid for h in members),
        date=min((h.date for h in members if h.date), default=""),
        patient_id=min((h.patient_id for h in members if h.patient_id), default=""),
        series=tuple(series),
        accession_number=min(
            (h.accession_number for h in members if h.accession_number), default=""
        ),
        person=max(h.person for h in members),  # the one that says most
    )


def _series(identity: str, headers: list[Header], plane: Plane | None) -> Series:
    first, key = headers[0], key_of(identity)
    volume = first.kind.is_volume
    return Series(
        uid=first.series_uid,
        modality=first.modality,
        body_part=first.body_part,
        description=first.description,
        stacks=volume_stacks(first, key, plane) if volume else dicom_stacks(headers, key),
        number=first.series_number,
    )
