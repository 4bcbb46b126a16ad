"""Decode all frames of a DICOM file: whether it is whole, and whether it is equal to another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from medscan.archive import ArchiveFile, Decoded
from medscan.decoding.dicom import DicomFile
from medscan.decoding.quiet import file_errors
from medscan.decoding.stored import LOSSY
from medscan.errors import FileError
from medscan.worker import announce, bound_memory, dismiss, hire


def decoded(file: ArchiveFile, max_file_bytes: int) -> Decoded | FileError:
    """Decode all frames of a file; return the error of the first that cannot be decoded."""
    announce(file)
    bound_memory(max_file_bytes)
    digest = hashlib.sha256()
    try:
        with file_errors():
            opened = DicomFile(file, max_file_bytes)
            for index in range(opened.planes):
                announce(file)
                plane = opened.plane(index)
                digest.update(f"{plane.pixels.shape} {plane.inverted} ".encode())
                digest.update(plane.pixels.tobytes())
            loss = str(opened.syntax) if opened.syntax in LOSSY else ""
            return Decoded(digest.hexdigest(), loss)
    except FileError as error:
        return error


def judge(
    file: ArchiveFile,
    max_file_bytes: int,
    file_timeout_s: float,
    waiting: Callable[[], object] = lambda: None,
) -> Decoded | FileError:
    """Do the same as `decoded` in a worker, which may die; `waiting` is called meanwhile."""
    worker = hire(decoded)
    worker.start(file_timeout_s, decoded, file, max_file_bytes)
    answer = worker.finish(waiting)
    if answer is None:
        return worker.error()
    dismiss(worker)
    found: Decoded | FileError = answer.get()
    return found
