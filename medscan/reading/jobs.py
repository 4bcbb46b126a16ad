"""Some frames of a stack, read and drawn in a worker process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

from medscan import imaging
from medscan.archive import ArchiveFile, Frame, Stack
from medscan.errors import FileError, TooLargeError, UnreadableError
from medscan.imaging import KeptPlanes, Slice, Window
from medscan.worker import bound_memory

CHUNK = 16
"""Frames of a job."""
KEPT_BYTES = 256 << 20
"""Bytes of planes that stay in memory from measuring a stack's window until they are drawn."""


@dataclass(frozen=True, slots=True)
class DrawJob:
    """Some frames of one stack to draw.

    Parameters
    ----------
    stack : Stack
    first : int
        Index of the first frame in `stack.frames`.
    frames : tuple of Frame
    size : int
        Side of the model's square, pixels.
    rule : str
        How the window is measured; see `medscan.imaging.parse_rule`.
    modality : str
    max_file_bytes : int
        Bytes that a file may be, unpack to or need decoded; a worker may hold `COPIES` times that.
    study : str
        Key of the study.
    companions : tuple of ArchiveFile
        Files with the voxels, where the stack's own files are only headers.
    window : Window or None
        The stack's window, if another job has measured it already.
    packs : bool
        Whether each slice gets its own pixels as well.
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
    packs: bool = False

    @property
    def window_key(self) -> tuple[object, ...]:
        """What a window is measured for: equal for all jobs of one stack."""
        return self.study, self.stack.key, self.rule, self.modality

    def singles(self) -> Iterator[DrawJob]:
        """Divide the job into jobs of one frame each."""
        for offset, frame in enumerate(self.frames):
            yield replace(self, first=self.first + offset, frames=(frame,))


Drawn = list[Slice | FileError]


@dataclass(slots=True)
class StackMemory:
    """The window of the stack that a process drew last, and the planes read to measure it.

    Without it, a plane would be read twice: once to measure the window and once to draw.
    """

    window_key: tuple[object, ...] = ()
    window: Window | None = None
    kept: KeptPlanes = field(default_factory=lambda: KeptPlanes(KEPT_BYTES))

    def window_of(self, job: DrawJob) -> Window:
        """Return the window of a job's stack; measure it unless it is known.

        Raises
        ------
        FileError
            If none of the frames needed to measure it can be read.
        """
        if job.window_key != self.window_key:
            self.window_key, self.window = job.window_key, None
            self.kept = KeptPlanes(KEPT_BYTES)
        self.window = self.window or job.window
        if self.window is None:
            stack, rule = job.stack, job.rule
            self.window = imaging.measure(stack, rule, job.modality, job.max_file_bytes, self.kept)
        return self.window


@lru_cache(maxsize=1)
def _memory(_session: int) -> StackMemory:
    """Return the memory of one session: files may have changed since the last one."""
    return StackMemory()


def draw(job: DrawJob, session: int) -> tuple[Drawn, Window | None]:
    """Draw a job in a worker, and return the window of its stack as well, if it is known."""
    bound_memory(job.max_file_bytes)
    memory = _memory(session)
    return draw_job(job, memory), memory.window


def draw_job(job: DrawJob, memory: StackMemory) -> Drawn:
    """Draw a job in this process; an error in a file costs only that file's frames."""
    drawn = _draw(job, memory)
    # Looked at after drawing: a file replaced while it was read is caught too.
    error = UnreadableError("it has changed since the archive was indexed")
    if any(map(_has_changed, job.companions)):
        return [error] * len(drawn)
    changed = {f.file for f in job.frames if _has_changed(f.file)}
    pairs = zip(job.frames, drawn, strict=True)
    return [error if frame.file in changed else item for frame, item in pairs]


def _has_changed(file: ArchiveFile) -> bool:
    """Whether a file was written to or replaced; a missing file does not count as changed."""
    try:
        status = file.full.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns)


def _draw(job: DrawJob, memory: StackMemory) -> Drawn:
    try:
        window = memory.window_of(job)
        limit, kept = job.max_file_bytes, memory.kept
        return imaging.render(job.stack, job.frames, job.size, window, limit, kept, packs=job.packs)
    except FileError as error:
        return _own_errors(job, error)
    except MemoryError:
        memory.kept = KeptPlanes(0)
        if len(job.frames) == 1:
            return [TooLargeError("does not fit into memory; see --max-file-gib")]
    # Out of memory with several frames: one at a time, only those that are too large fail.
    return [item for single in job.singles() for item in _draw(single, memory)]


def _own_errors(job: DrawJob, error: FileError) -> Drawn:
    """What is wrong with each frame of a stack whose window cannot be measured."""
    planes = imaging.read_planes(job.stack, job.frames, job.max_file_bytes)
    return [plane if isinstance(plane, FileError) else error for plane in planes]
