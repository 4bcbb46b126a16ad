"""Whether all frames of a DICOM file can be decoded."""

from __future__ import annotations

from collections.abc import Callable

from medscan.archive import ArchiveFile
from medscan.decoding.dicom import DicomFile
from medscan.decoding.quiet import file_errors
from medscan.errors import FileError
from medscan.worker import announce, bound_memory, dismiss, hire


def fault_of(file: ArchiveFile, max_file_bytes: int) -> FileError | None:
    """Decode all frames of a file; return the error of the first that cannot be decoded."""
    announce(file)
    bound_memory(max_file_bytes)
    try:
        with file_errors():
            opened = DicomFile(file, max_file_bytes)
            for index in range(opened.frames):
                announce(file)
                opened.plane(index)
    except FileError as error:
        return error
    return None


def judge(
    file: ArchiveFile,
    max_file_bytes: int,
    file_timeout_s: float,
    waiting: Callable[[], object] = lambda: None,
) -> FileError | None:
    """Do the same as `fault_of` in a worker, which may die; `waiting` is called meanwhile."""
    worker = hire(fault_of)
    worker.start(file_timeout_s, fault_of, file, max_file_bytes)
    answer = worker.finish(waiting)
    if answer is None:
        return worker.error()
    dismiss(worker)
    fault: FileError | None = answer.get()
    return fault
