"""Read the header of one file of any kind."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import BinaryIO

from medscan.archive.bids import named
from medscan.archive.dicom import read_dicom
from medscan.archive.header import Header, Record
from medscan.archive.opening import open_regular
from medscan.archive.picture import read_picture
from medscan.archive.sidecar import is_sidecar, read_sidecar
from medscan.archive.sniff import HEAD, Content, claims_image, sniff
from medscan.archive.types import ArchiveFile, Kind, Outcome, Reason
from medscan.archive.volume import read_volume
from medscan.errors import FileError


def read_header(
    file: ArchiveFile,
    *,
    identify: bool = False,
    alive: Callable[[], object] | None = None,
    by_name: bool = True,
) -> Record:
    """Read the header of one file, by its content; open it once and raise nothing.

    Parameters
    ----------
    file : ArchiveFile
    identify : bool
        Read the accession number too.
    alive : callable or None
        Read the pixels of a DICOM object, for `Header.content`, and call this between pieces.
    by_name : bool
        Add what its name in a BIDS data set says, and set aside what this calls a mask.

    Returns
    -------
    Header
        Of an image.
    Sidecar
        Of a file that describes images.
    Outcome
        Of any other file that is not an image, or is broken.
    """
    try:
        with open_regular(file.full) as stream, warnings.catch_warnings():
            # What matters in the warnings of libraries becomes an outcome.
            warnings.simplefilter("ignore")
            record = _read(file, stream, identify, alive)
            return named(record) if isinstance(record, Header) and by_name else record
    except FileError as error:
        return Outcome(file, Reason(error.reason), str(error))
    except MemoryError:
        return Outcome(file, Reason.DECODER_DIED, "header: it does not fit into memory")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        detail = getattr(error, "strerror", None) or type(error).__name__
        return Outcome(file, Reason.UNREADABLE, detail)


def _read(
    file: ArchiveFile, stream: BinaryIO, identify: bool, alive: Callable[[], object] | None
) -> Record:
    content = sniff(stream.read(HEAD))
    if content.kind is Kind.DICOM:
        return read_dicom(file, stream, content, identify=identify, alive=alive)
    if content.kind is not None and content.kind.is_volume:
        return read_volume(file, stream, content)
    if content.kind is Kind.PICTURE:
        return read_picture(file, stream)
    if is_sidecar(file.path) and not content.recognised:
        return read_sidecar(file, stream)
    return _not_an_image(file, content)


def _not_an_image(file: ArchiveFile, content: Content) -> Outcome:
    """Outcome of a file without an image. An unrecognised .dcm or .nii is a damaged image."""
    if content.recognised or not claims_image(file.path):
        return Outcome(file, Reason.NOT_AN_IMAGE, content.name)
    reason = Reason.CORRUPT if file.size else Reason.TRUNCATED
    return Outcome(file, reason, f"named like an image, but {content.name}")
