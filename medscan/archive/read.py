"""Read one file's header, whatever the file is."""

from __future__ import annotations

import warnings
from typing import BinaryIO

from medscan.archive.dicom import read_dicom
from medscan.archive.header import Header
from medscan.archive.itk import read_itk
from medscan.archive.picture import read_picture
from medscan.archive.sniff import HEAD, Content, claims_image, open_regular, sniff
from medscan.archive.types import ArchiveFile, Kind, Outcome, Reason
from medscan.archive.volume import read_nifti
from medscan.errors import FileError


def read_header(file: ArchiveFile) -> Header | Outcome:
    """Read the header of one file, by its content; opens it once and raises nothing.

    Parameters
    ----------
    file : ArchiveFile

    Returns
    -------
    Header
        Of an image.
    Outcome
        Why there is none: it is no image, or it is broken.
    """
    try:
        with open_regular(file.full) as stream, warnings.catch_warnings():
            # Libraries warn of what an outcome will say, or of what does not matter here.
            warnings.simplefilter("ignore")
            return _read(file, stream)
    except FileError as error:
        return Outcome(file, Reason(error.reason), str(error))
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        detail = getattr(error, "strerror", None) or type(error).__name__
        return Outcome(file, Reason.UNREADABLE, detail)


def _read(file: ArchiveFile, stream: BinaryIO) -> Header | Outcome:
    content = sniff(stream.read(HEAD))
    if content.kind is Kind.DICOM:
        return read_dicom(file, stream, content)
    if content.kind is Kind.NIFTI:
        return read_nifti(file, content)
    if content.kind is Kind.ITK:
        return read_itk(file, stream, content)
    if content.kind is Kind.PICTURE:
        return read_picture(file, stream)
    return _other(file, content)


def _other(file: ArchiveFile, content: Content) -> Outcome:
    """No image. One named .dcm or .nii that is nothing known was one once, or should have been."""
    if content.known or not claims_image(file.path):
        return Outcome(file, Reason.NOT_AN_IMAGE, content.name)
    reason = Reason.CORRUPT if file.size else Reason.TRUNCATED
    return Outcome(file, reason, f"named like an image, but {content.name}")
