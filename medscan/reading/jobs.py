"""Some frames of a stack, read and drawn in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from medscan import imaging
from medscan.archive import ArchiveFile, Frame, Stack
from medscan.errors import FileError, TooLargeError, UnreadableError
from medscan.imaging import KeptPlanes, Slice, Window

CHUNK = 16
"""Frames of a job."""
KEPT = 256 << 20
"""Bytes of planes that are kept from when a stack's window is measured until they are drawn."""


@dataclass(frozen=True, slots=True)
class DrawJob:
    """Some frames of one stack to be drawn.

    Parameters
    ----------
    stack : Stack
    first : int
        Place of the first frame in `stack.frames`.
    frames : tuple of Frame
    size : int
        Side of the model's square, pixels.
    rule : str
        Of the window; see `medscan.imaging.parse_rule`.
    modality : str
    max_file_bytes : int
        Bytes that a file may be, unpack to or need decoded; a worker may hold `COPIES` times that.
    study : str
        Key of the study.
    companions : tuple of ArchiveFile
        Where the voxels of its files are, if not in these.
    window : Window or None
        Of the stack, where another job has measured it already.
    """

    stack: Stack
    first: int
    frames: tuple[Frame, ...]
    size: int
    rule: str
    modality: str
    max_file_bytes: int
    study: str = ""
    companions: tuple[ArchiveFile, ...] = ()
    window: Window | None = None

    @property
    def measured(self) -> tuple[object, ...]:
        """What the window belongs to: the same for all jobs of a stack."""
        return self.study, self.stack.key, self.rule, self.modality

    def singles(self) -> Iterator[DrawJob]:
        """The job frame by frame."""
        for offset, frame in enumerate(self.frames):
            yield replace(self, first=self.first + offset, frames=(frame,))


Drawn = list[Slice | FileError]


@dataclass(slots=True)
class StackMemory:
    """What a process knows of the stack that it drew last: its window, and planes it read for it.

    The planes of a stack are otherwise read twice, once to measure and once to draw.
    """

    measured: tuple[object, ...] = ()
    window: Window | None = None
    kept: KeptPlanes = field(default_factory=lambda: KeptPlanes(KEPT))

    def window_of(self, job: DrawJob) -> Window:
        """The window of a job's stack; measured unless it is known.

        Raises
        ------
        FileError
            None of the frames looked at can be read.
        """
        if job.measured != self.measured:
            self.measured, self.window, self.kept = job.measured, None, KeptPlanes(KEPT)
        self.window = self.window or job.window
        if self.window is None:
            stack, rule = job.stack, job.rule
            self.window = imaging.measure(stack, rule, job.modality, job.max_file_bytes, self.kept)
        return self.window


def draw_job(job: DrawJob, memory: StackMemory) -> Drawn:
    """Do a job in this process; whatever is wrong with a file costs its frames."""
    found = _drawn(job, memory)
    error = UnreadableError("it has changed since the archive was indexed")
    if any(map(_has_changed, job.companions)):
        return [error] * len(found)
    changed = {f.file for f in job.frames if _has_changed(f.file)}
    pairs = zip(job.frames, found, strict=True)
    return [error if frame.file in changed else item for frame, item in pairs]


def _has_changed(file: ArchiveFile) -> bool:
    """Whether another file was put in its place, or it was written to; one that is gone has not."""
    try:
        status = file.full.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns)


def _drawn(job: DrawJob, memory: StackMemory) -> Drawn:
    try:
        window = memory.window_of(job)
        return imaging.render(
            job.stack, job.frames, job.size, window, job.max_file_bytes, memory.kept
        )
    except FileError as error:
        return [error] * len(job.frames)
    except MemoryError:
        memory.kept = KeptPlanes(0)
        if len(job.frames) == 1:
            return [TooLargeError("does not fit into memory; see --max-file-gib")]
    return [item for single in job.singles() for item in _drawn(single, memory)]
