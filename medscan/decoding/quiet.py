"""Keep the libraries that read files quiet, and turn their errors into medscan's own."""

from __future__ import annotations

import logging
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from PIL import Image
from pydicom.errors import BytesLengthException, InvalidDicomError

from medscan.errors import CorruptError, FileError, TooLargeError, TruncatedError, UnreadableError

_log = logging.getLogger("medscan.decoding")

DECODER_ERRORS: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    BytesLengthException,
    EOFError,
    HeaderDataError,
    ImageFileError,
    InvalidDicomError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What the libraries raise on content that they cannot read."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings, and pydicom's log of the decoders that it tries."""
    log = logging.getLogger("pydicom")
    before = log.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            log.setLevel(before)


@contextmanager
def no_stderr() -> Iterator[None]:
    """Drop what C libraries write directly to the error stream: cron would mail it."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def file_errors() -> Iterator[None]:
    """Turn any error of a library into a `FileError` that reveals nothing about the patient.

    Raises
    ------
    FileError
        If anything inside fails. It names only the class of a library's error, whose message may
        quote the header.
    """
    try:
        with quiet():
            yield
    except FileError:
        raise
    except EOFError:
        raise TruncatedError("the file is truncated") from None
    except (MemoryError, Image.DecompressionBombError):
        raise TooLargeError("does not fit into memory") from None
    except DECODER_ERRORS as error:
        _log.debug("%s while reading pixels", type(error).__name__)
        raise _file_error(error) from None
    except BaseException as error:
        # A decoder written in Rust panicked; the class of that error cannot be imported.
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise CorruptError("content cannot be read (its decoder panicked)") from None


def _file_error(error: Exception) -> FileError:
    """Choose the `FileError` that fits a library's error."""
    if isinstance(error, OSError) and error.errno is not None:
        return UnreadableError(f"{error.strerror}")
    if isinstance(error, OSError) and ("truncated" in str(error) or "Expected" in str(error)):
        return TruncatedError("the file is truncated")
    return CorruptError(f"content cannot be read ({type(error).__name__})")
