"""Volume files of all formats: their headers, and where their voxels lie."""

from __future__ import annotations

import math
import re
from pathlib import PurePosixPath
from typing import BinaryIO

from medscan.archive.facts import FILE_NAME
from medscan.archive.header import MAX_FRAMES, Header, Record
from medscan.archive.layout import VolumeLayout
from medscan.archive.meta_image import read_meta_image
from medscan.archive.nifti import read_nifti
from medscan.archive.nrrd import read_nrrd
from medscan.archive.opening import open_below
from medscan.archive.sniff import HEAD, Content, sniff
from medscan.archive.types import ArchiveFile, Kind, Outcome
from medscan.errors import CorruptError, TooLargeError

_TEXT_HEADER = 2**20
"""Longest header of a MetaImage or NRRD, in bytes."""
_SUFFIXES = re.compile(r"(?<=.)\.(nii|nii\.gz|hdr|mha|mhd|nrrd|nhdr|png|jpe?g|tiff?|gz)\Z", re.I)


def stem(path: str) -> str:
    """Name of a file without its folder and image suffix."""
    return _SUFFIXES.sub("", PurePosixPath(path).name)


def read_volume(file: ArchiveFile, stream: BinaryIO, content: Content) -> Record:
    """Read the header of a volume file.

    Parameters
    ----------
    file : ArchiveFile
    stream : binary file
        The file, open.
    content : Content
        What the file is.

    Raises
    ------
    FileError
        If the file ends too early, contradicts itself, is of a kind that is not read, or has too
        many slices.
    """
    layout = _layout(file, stream, content)
    if isinstance(layout, Outcome):
        return layout
    geometry = layout.geometry
    # Count slices in the plane that gives the most.
    frames = max(geometry.shape[:3]) * math.prod(geometry.shape[3:])
    if frames > MAX_FRAMES:
        raise TooLargeError(f"it declares {frames} slices")
    kind = content.kind or Kind.ITK
    facts = {FILE_NAME: stem(file.path)}
    if geometry.shape[3:] and geometry.shape[3] > 1:
        facts["NumberOfTemporalPositions"] = str(geometry.shape[3])
    return Header(file, kind, 0, (), geometry, facts=facts, notes=layout.notes)


def volume_layout(file: ArchiveFile, kind: Kind) -> VolumeLayout:
    """Read again where the voxels of a volume lie, with the parser that read its header.

    Parameters
    ----------
    file : ArchiveFile
    kind : Kind
        `NIFTI` or `ITK`, as its header says.

    Raises
    ------
    OSError
        If the file cannot be opened.
    FileError
        As `read_volume`, and if the file is now of another kind.
    """
    with open_below(file.root, file.path) as stream:
        content = sniff(stream.read(HEAD))
        layout = _layout(file, stream, content) if content.kind is kind else None
    if not isinstance(layout, VolumeLayout):
        raise CorruptError("it is not the volume that was indexed")
    return layout


def _layout(file: ArchiveFile, stream: BinaryIO, content: Content) -> VolumeLayout | Outcome:
    if content.kind is Kind.NIFTI:
        return read_nifti(file, content)
    stream.seek(0)
    head = stream.read(_TEXT_HEADER)
    return (read_nrrd if content.name == "NRRD" else read_meta_image)(file, head)
