"""Headers -> catalogue: studies, series and stacks, and one place for every file."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from medscan.archive.header import Header, to_json
from medscan.archive.stacks import dicom_stacks, volume_stacks
from medscan.archive.types import ArchiveFile, Catalogue, Kind, Outcome, Reason, Series, Study
from medscan.archive.volume import voxel_names
from medscan.choices import Plane
from medscan.errors import CorruptError


def group(
    found: Iterable[Header | Outcome],
    plane: Plane | None = None,
    name: Callable[[str], str] = str,
) -> Catalogue:
    """Put every file in its place.

    Parameters
    ----------
    found : iterable of Header or Outcome
        One for each file, in any order: the catalogue does not depend on it.
    plane : Plane or None
        To cut volume files in; None: perpendicular to their largest spacing.
    name : callable
        What stands for a path in the keys of studies and stacks that have no UID.

    Returns
    -------
    Catalogue
    """
    items = sorted(found, key=lambda f: f.file)
    headers = [f for f in items if isinstance(f, Header)]
    outcomes = {f.file: f for f in items if isinstance(f, Outcome)}
    headers, companions, orphans = _pair(headers, outcomes)
    headers, copies = _unique(headers)
    studies, broken = _studies(headers, plane, name)
    for outcome in (*orphans, *copies, *broken):
        outcomes[outcome.file] = outcome
    for companion in companions:
        outcomes.pop(companion, None)
    return Catalogue(studies, tuple(outcomes[file] for file in sorted(outcomes)), companions)


def key_of(identity: str) -> str:
    """Name made of a UID or path: 16 hexadecimal digits, safe anywhere."""
    return hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _pair(
    headers: list[Header], outcomes: dict[ArchiveFile, Outcome]
) -> tuple[list[Header], dict[ArchiveFile, ArchiveFile], list[Outcome]]:
    """Find the files that hold the voxels of a header file; a header without one is set aside."""
    others = {(o.file.root, o.file.path): o for o in outcomes.values()}
    kept: list[Header] = []
    companions: dict[ArchiveFile, ArchiveFile] = {}
    orphans: list[Outcome] = []
    for header in headers:
        volume = header.volume
        if volume is None or not volume.companion:
            kept.append(header)
            continue
        partner = _partner(header, others)
        problem = _unfit(partner, volume.data_bytes)
        if problem:
            orphans.append(Outcome(header.file, Reason.TRUNCATED, problem))
        else:
            kept.append(header)
        if partner is not None and partner in outcomes:
            companions.setdefault(partner, header.file)
    return kept, companions, orphans


def _partner(header: Header, others: dict[tuple[Path, str], Outcome]) -> ArchiveFile | None:
    """The file with a header's voxels: among those found, or (a lone root) on disk."""
    path = PurePosixPath(header.volume.companion if header.volume else "")
    pair = voxel_names(header.file.path) if header.kind is Kind.NIFTI else (path.name,)
    for name in (str(path.with_name(n)) for n in pair):
        other = others.get((header.file.root, name))
        if other is not None and other.reason is not Reason.UNREADABLE:
            return other.file
        if other is None and (status := _regular(header.file.root / name)):
            return ArchiveFile(name, header.file.root, status.st_size, status.st_mtime_ns)
    return None


def _regular(path: Path) -> os.stat_result | None:
    try:
        status = path.lstat()
    except (OSError, ValueError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _unfit(partner: ArchiveFile | None, needed: int) -> str:
    if partner is None:
        return "the file with its voxels is missing"
    if partner.size < needed and not partner.path.endswith(".gz"):
        return f"{needed} bytes of voxels are declared, {partner.size} are there"
    return ""


def _unique(headers: list[Header]) -> tuple[list[Header], list[Outcome]]:
    """Keep the first file, by path, of each SOP instance of a series."""
    first: dict[tuple[str, str, str], Header] = {}
    kept: list[Header] = []
    copies: list[Outcome] = []
    for header in headers:
        identity = (header.study_uid, header.series_uid, header.sop_instance_uid)
        original = first.setdefault(identity, header) if header.sop_instance_uid else header
        if original is header:
            kept.append(header)
            continue
        same = original.file.size == header.file.size and to_json(original) == to_json(header)
        detail = "of" if same else "conflicting with"
        uids = header.study_uid, header.series_uid
        copies.append(Outcome(header.file, Reason.DUPLICATE, detail, *uids, original.file.path))
    return kept, copies


def identity_of(
    file: ArchiveFile, study: str = "", series: str = "", name: Callable[[str], str] = str
) -> str:
    """What holds a study together: its UID, else its series' UID, else the file's path."""
    return study or (f"series:{series}" if series else f"path:{name(file.path)}")


def _studies(
    headers: list[Header], plane: Plane | None, name: Callable[[str], str]
) -> tuple[tuple[Study, ...], list[Outcome]]:
    groups: defaultdict[str, list[Header]] = defaultdict(list)
    first_root: dict[str, Path] = {}
    for header in headers:
        identity = identity_of(header.file, header.study_uid, header.series_uid, name)
        if identity.startswith("path:"):
            # The same path below a further root is another study.
            home = first_root.setdefault(identity, header.file.root)
            full = name(str(header.file.full))
            identity = identity if home == header.file.root else f"path:{full}"
        groups[identity].append(header)
    studies: list[Study] = []
    broken: list[Outcome] = []
    for identity, members in sorted(groups.items()):
        try:
            studies.append(_study(identity, members, plane, name))
        except CorruptError as error:  # only a volume file, which is alone in its study
            broken.extend(Outcome(h.file, Reason.CORRUPT, str(error)) for h in members)
    return tuple(studies), broken


def _study(
    identity: str, members: list[Header], plane: Plane | None, name: Callable[[str], str]
) -> Study:
    series: defaultdict[str, list[Header]] = defaultdict(list)
    for header in members:
        series[header.series_uid or f"path:{name(header.file.path)}"].append(header)
    made = [_series(uid, headers, plane) for uid, headers in series.items()]
    made.sort(key=lambda s: (s.number is None, s.number or 0, s.stacks[0].key))
    return Study(
        key=key_of(identity),
        uid=max(h.study_uid for h in members),  # one, but for what looks like another's identity
        date=min((h.date for h in members if h.date), default=""),
        patient_id=min((h.patient_id for h in members if h.patient_id), default=""),
        series=tuple(made),
    )


def _series(identity: str, headers: list[Header], plane: Plane | None) -> Series:
    first, key = headers[0], key_of(identity)
    volume = first.kind in (Kind.NIFTI, Kind.ITK)
    return Series(
        uid=first.series_uid,
        modality=first.modality,
        body_part=first.body_part,
        description=first.description,
        stacks=volume_stacks(first, key, plane) if volume else dicom_stacks(headers, key),
        number=first.series_number,
    )
