"""Labelled DICOM files as a scan reads them: in the series of their folder, of a stated patient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medscan import archive
from medscan.archive import ArchiveFile, Frame, Kind, Outcome, Stack, Study

VOLUMES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")
SUFFIXES = (*VOLUMES, ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm")
"""Suffixes of images; a file may have any, its content decides how it is read."""


@dataclass(frozen=True, slots=True)
class Source:
    """What the frames of a DICOM file belong to.

    Parameters
    ----------
    stack : Stack
        With the frames of all files of its series that lie in the folders of the labelled files,
        so that its window is the one that a scan would measure.
    file : ArchiveFile
    modality : str
    patient : str
        A number in place of the PatientID, or of the StudyInstanceUID where there is none.
    """

    stack: Stack
    file: ArchiveFile
    modality: str
    patient: str

    @property
    def frames(self) -> list[Frame]:
        """The frames of the file, in the order of the stack."""
        return [frame for frame in self.stack.frames if frame.file == self.file]


def dicom_sources(paths: Sequence[Path]) -> dict[Path, Source]:
    """Index the folders of DICOM files, without the folders below these.

    Parameters
    ----------
    paths : sequence of Path
        Labelled files of any kind.

    Returns
    -------
    dict
        Source by path, for DICOM files with an image. A file of several stacks has the first.
    """
    wanted = {path.resolve(): path for path in paths if _is_dicom(path)}
    if not wanted:
        return {}
    folders = sorted({path.parent for path in wanted})
    siblings = [entry for folder in folders for entry in _files_of(folder)]
    studies = archive.index(folders, walked=siblings).studies
    numbers = {name: n for n, name in enumerate(sorted({_identity(s) for s in studies}), 1)}
    sources: dict[Path, Source] = {}
    for study in studies:
        patient = f"patient {numbers[_identity(study)]} of the DICOM files"
        for series in study.series:
            for stack in series.stacks:
                for file in dict.fromkeys(frame.file for frame in stack.frames):
                    if path := wanted.get(file.full):
                        sources.setdefault(path, Source(stack, file, series.modality, patient))
    return sources


def _is_dicom(path: Path) -> bool:
    """Whether a file may be DICOM; false if it cannot be read, which its reader will report."""
    if path.name.lower().endswith(tuple(s for s in SUFFIXES if s != ".dcm")):
        return False
    content = archive.content_of(path)
    return content is not None and content.kind is Kind.DICOM


def _files_of(folder: Path) -> Iterator[ArchiveFile | Outcome]:
    """Entries of a folder itself, with which a walk begins."""
    for entry in archive.walk(folder):
        file = entry.file if isinstance(entry, Outcome) else entry
        if "/" in file.path:
            return
        yield entry


def _identity(study: Study) -> str:
    return study.patient_id.strip() or f"study {study.uid or study.key}"
