"""Where the slices of a labelled file lie, found as a scan finds them.

A scan reads a file in its archive: a DICOM file belongs to a series, whose window it shares, and
what lies beside a volume or picture may say what it shows. Labelled files are read in the same way,
so that a detector learns from, and is measured on, the slices that it will be given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medscan import archive, decoding
from medscan.archive import ArchiveFile, Decoded, Frame, Kind, Outcome, Reason, Stack, Study
from medscan.choices import FILE_TIMEOUT_S, MAX_FILE_BYTES, Plane
from medscan.errors import FileError, UsageError

VOLUMES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")
SUFFIXES = (*VOLUMES, ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm")
"""Suffixes of images; a file may have any, its content decides how it is read."""


@dataclass(frozen=True, slots=True)
class Source:
    """Frames of a labelled file in a stack.

    Parameters
    ----------
    stack : Stack
        Whole, so that its window is the one that a scan would measure: with the frames of all
        files of its series that lie in the folders of the labelled files.
    frames : tuple of Frame
        Those of the file, in the order of the stack.
    modality : str
    study : str
        Key of its study.
    """

    stack: Stack
    frames: tuple[Frame, ...]
    modality: str
    study: str


@dataclass(frozen=True, slots=True)
class DicomSources:
    """What a scan would know of a DICOM file.

    Parameters
    ----------
    sources : tuple of Source
        More than one if its frames belong to several stacks.
    identity : str
        As of `medscan.archive.identity_of`; never to be shown.
    original : Path
        The file itself, or the one of the same SOP instance that a scan would read instead.
    """

    sources: tuple[Source, ...]
    identity: str
    original: Path


def dicom_sources(paths: Sequence[Path]) -> dict[Path, DicomSources]:
    """Index the folders of DICOM files, without the folders below these.

    Parameters
    ----------
    paths : sequence of Path
        Labelled files of any kind.

    Returns
    -------
    dict
        By path, for the files that a scan would read as DICOM images, or would read copies of.
    """
    wanted = {path: path.resolve() for path in paths if _is_dicom(path)}
    if not wanted:
        return {}
    folders = sorted({path.parent for path in wanted.values()})
    top = Path(os.path.commonpath(folders))
    siblings = [entry for folder in folders for entry in _files_of(folder, top)]
    catalogue = archive.index([top], walked=siblings, judge=judge_copy)
    copies = {
        outcome.file.full: top / outcome.other
        for outcome in catalogue.set_aside
        if outcome.reason is Reason.DUPLICATE and outcome.other
    }
    originals = {path: copies.get(full, full) for path, full in wanted.items()}
    found: dict[Path, DicomSources] = {}
    for study in catalogue.studies:
        identity = archive.identity_of(study.patient_id, study.uid or study.key)
        for file, sources in _sources(study).items():
            found[file.full] = DicomSources(tuple(sources), identity, file.full)
    return {path: found[full] for path, full in originals.items() if full in found}


def sources_of(path: Path, top: Path, plane: Plane | None) -> tuple[Source, ...]:
    """Index one file of any kind, with what lies beside it and above it.

    Parameters
    ----------
    path : Path
    top : Path
        Folder of the data: nothing above it is looked at.
    plane : Plane or None
        Plane to cut volumes in.

    Raises
    ------
    UsageError
        If it holds no image that a scan would read.
    """
    (entry,) = archive.walk(path)
    if isinstance(entry, Outcome):
        raise UsageError(f"{path} cannot be fitted on: {entry.detail or entry.reason}")
    entry = _below(entry, top.resolve())
    beside = [e for file in archive.describing(entry) for e in archive.walk(file)]
    walked = [entry, *(_below(e, entry.root) for e in beside if isinstance(e, ArchiveFile))]
    catalogue = archive.index([path], plane=plane, walked=walked)
    found = [source for study in catalogue.studies for source in _sources(study).get(entry, ())]
    if not found:
        why = next((o.detail or o.reason for o in catalogue.set_aside if o.file == entry), "")
        raise UsageError(f"{path} cannot be fitted on: {why or 'it holds no image'}")
    return tuple(found)


def _sources(study: Study) -> Mapping[ArchiveFile, list[Source]]:
    """Sources in a study by the file of their frames."""
    found: dict[ArchiveFile, list[Source]] = {}
    for series in study.series:
        for stack in series.stacks:
            frames: dict[ArchiveFile, list[Frame]] = {}
            for frame in stack.frames:
                frames.setdefault(frame.file, []).append(frame)
            for file, own in frames.items():
                source = Source(stack, tuple(own), series.modality, study.key)
                found.setdefault(file, []).append(source)
    return found


def judge_copy(file: ArchiveFile) -> Decoded | FileError:
    """As a scan chooses between files of one SOP instance."""
    return decoding.judge(file, MAX_FILE_BYTES, FILE_TIMEOUT_S, lambda: None)


def _is_dicom(path: Path) -> bool:
    """Whether a file may be DICOM; false if it cannot be read, which its reader will report."""
    if path.name.lower().endswith(tuple(s for s in SUFFIXES if s != ".dcm")):
        return False
    content = archive.content_of(path)
    return content is not None and content.kind is Kind.DICOM


def _files_of(folder: Path, top: Path) -> Iterator[ArchiveFile | Outcome]:
    """Entries of a folder itself, with which a walk begins."""
    for entry in archive.walk(folder):
        file = entry.file if isinstance(entry, Outcome) else entry
        if "/" in file.path:
            return
        moved = _below(file, top)
        yield replace(entry, file=moved) if isinstance(entry, Outcome) else moved


def _below(file: ArchiveFile, top: Path) -> ArchiveFile:
    """The file as a walk of `top` would have it, if it lies below."""
    if not file.full.is_relative_to(top):
        return file
    return replace(file, path=file.full.relative_to(top).as_posix(), root=top)


def stem(path: Path) -> str:
    """File name without its image suffix; `.nii.gz` counts as one."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name
