"""Decode all frames of a DICOM file: whether it is whole, and whether it is equal to another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from medscan.archive import ArchiveFile, Decoded
from medscan.decoding.dicom import DicomFile
from medscan.decoding.quiet import file_errors
from medscan.decoding.stored import LOSSY
from medscan.errors import FileError
from medscan.worker import announce, bound_memory, dismiss, hire

PARTS, FRAMES = 16, 16
"""Parts of a side, and most frames, by which files with and without loss are compared."""


def decoded(file: ArchiveFile, max_file_bytes: int) -> Decoded | FileError:
    """Decode all frames of a file; return the error of the first that cannot be decoded."""
    announce(file)
    bound_memory(max_file_bytes)
    digest, coarse = hashlib.sha256(), list[float]()
    try:
        with file_errors():
            opened = DicomFile(file, max_file_bytes)
            for index in range(opened.planes):
                announce(file)
                plane = opened.plane(index)
                digest.update(f"{plane.pixels.shape} {plane.inverted} ".encode())
                digest.update(plane.pixels.tobytes())
                if index % -(-opened.planes // FRAMES) == 0:
                    coarse += _means(plane.pixels)
            return Decoded(digest.hexdigest(), _loss(opened), tuple(coarse))
    except FileError as error:
        return error


def _loss(opened: DicomFile) -> str:
    """What changes the values of a file: its compression, or colours that are converted."""
    if opened.syntax in LOSSY:
        return str(opened.syntax)
    return opened.photometric if opened.photometric.startswith("YBR_FULL") else ""


def _means(pixels: NDArray[np.float32]) -> list[float]:
    """Means of `PARTS` x `PARTS` parts of a slice, or of its pixels if it has fewer."""
    rows = np.array_split(pixels, min(PARTS, len(pixels)))
    parts = (np.array_split(row, min(PARTS, row.shape[1]), axis=1) for row in rows)
    return [float(part.mean()) for row in parts for part in row]


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
