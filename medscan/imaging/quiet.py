"""Libraries that read files, kept quiet, and what they raise told as medscan's own errors."""

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

_log = logging.getLogger("medscan.imaging")

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
"""What the libraries raise for content that they cannot read."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings, and pydicom's log of decoders that it tries."""
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
    """Drop what a C library writes to the process's error stream itself: cron would mail it."""
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
def reading() -> Iterator[None]:
    """Turn whatever goes wrong inside into a `FileError` that tells nothing of the patient.

    Raises
    ------
    FileError
        The one that fits. Of a library's message only the class is kept: it may quote the header.
    """
    try:
        with quiet():
            yield
    except FileError:
        raise
    except EOFError:
        raise TruncatedError("ends before its content does") from None
    except (MemoryError, Image.DecompressionBombError):
        raise TooLargeError("does not fit into memory") from None
    except DECODER_ERRORS as error:
        _log.debug("%s while reading pixels", type(error).__name__)
        raise _told(error) from None
    except BaseException as error:
        # The panic of a decoder written in Rust; its class cannot be imported to be named.
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise CorruptError("content cannot be read (its decoder panicked)") from None


def _told(error: Exception) -> FileError:
    """The medscan error for a library's."""
    if isinstance(error, OSError) and error.errno is not None:
        return UnreadableError(f"{error.strerror}")
    if isinstance(error, OSError) and ("truncated" in str(error) or "Expected" in str(error)):
        return TruncatedError("ends before its content does")
    return CorruptError(f"content cannot be read ({type(error).__name__})")
