"""Files -> the objects among them that may be sent to a PACS: those that medscan made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from medscan.archive import MAKER, ArchiveFile, text, walk
from medscan.text import is_uid, printable

CLASSES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "label map",
    "1.2.840.10008.5.1.4.1.1.30": "parametric map",
    "1.2.840.10008.5.1.4.1.1.88.22": "report",
    "1.2.840.10008.5.1.4.1.1.88.33": "report",
    "1.2.840.10008.5.1.4.1.1.88.34": "report",
    "1.2.840.10008.5.1.4.1.1.7": "picture",
    "1.2.840.10008.5.1.4.1.1.7.2": "picture",
    "1.2.840.10008.5.1.4.1.1.7.4": "picture",
}
"""What is sent, by SOP class: what `medscan export` writes for a PACS."""
_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("PatientID", "Manufacturer"),
)


@dataclass(frozen=True, slots=True)
class DicomObject:
    """An object to send.

    Parameters
    ----------
    path : Path
    size : int
        Bytes of its file.
    digest : str
        SHA-256 of its file.
    sop_class, instance, study, series, syntax : str
        UIDs, the last one of its transfer syntax.
    patient_id : str
    """

    path: Path
    size: int
    digest: str
    sop_class: str
    instance: str
    study: str
    series: str
    syntax: str
    patient_id: str

    @property
    def kind(self) -> str:
        """What it is, in a word or two."""
        return CLASSES[self.sop_class]


@dataclass(frozen=True, slots=True)
class NotSent:
    """A file that is not sent, and why."""

    path: Path
    why: str


def find_objects(paths: Iterable[Path]) -> Iterator[DicomObject | NotSent]:
    """Yield the objects in files and folders, each once, and what else there is.

    Images of patients are never sent, whatever is named: only what medscan made from them.
    """
    seen: set[Path] = set()
    for root in paths:
        for entry in walk(root):
            if isinstance(entry, ArchiveFile) and entry.full not in seen:
                seen.add(entry.full)
                yield read_object(entry.full)


def read_object(path: Path) -> DicomObject | NotSent:
    """Read what a file holds, without its pixels."""
    try:
        said = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_KEYWORDS))
        values = {keyword: text(said, keyword) for keyword in _KEYWORDS}
        syntax = text(said.file_meta, "TransferSyntaxUID")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            size = stream.seek(0, 2)
    except InvalidDicomError:
        return NotSent(path, "it is no DICOM file")
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        return NotSent(path, f"it cannot be read ({why})")
    sop_class, *uids = (values[keyword] for keyword in _KEYWORDS[:4])
    if values["Manufacturer"] != MAKER:
        return NotSent(path, "medscan did not make it")
    if sop_class not in CLASSES:
        return NotSent(path, f"objects of {printable(UID(sop_class).name, 80)} are not sent")
    if not all(map(is_uid, (*uids, syntax))):
        return NotSent(path, "it lacks a UID")
    instance, study, series = uids
    return DicomObject(
        path, size, digest, sop_class, instance, study, series, syntax, values["PatientID"]
    )
