"""Files as the body of a multipart message, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medscan.errors import DiskError
from medscan.pacs.objects import DicomObject

CHUNK = 1 << 20
"""Bytes that are read at a time."""


class Message:
    """The body of a request that stores objects; it may be sent again.

    Parameters
    ----------
    objects : sequence of DicomObject
    """

    def __init__(self, objects: Sequence[DicomObject]) -> None:
        self.objects = objects
        # Of the content, so that it occurs in none of the files.
        self.boundary = f"medscan-{objects[0].digest}"
        self._head = f"--{self.boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._end = f"--{self.boundary}--\r\n".encode()

    def __len__(self) -> int:
        """Bytes of the body, which a server wants to know before."""
        more = len(self._head) + len(b"\r\n")
        return sum(one.size + more for one in self.objects) + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body from its start.

        Raises
        ------
        DiskError
            If a file cannot be read, or is of another size than before.
        """
        for one in self.objects:
            yield self._head
            left = one.size
            try:
                with one.path.open("rb") as stream:
                    while piece := stream.read(CHUNK):
                        left -= len(piece)
                        yield piece
            except OSError as error:
                raise DiskError(f"{one.path} cannot be read: {error.strerror}") from error
            if left:
                raise DiskError(f"{one.path} has changed while it was sent")
            yield b"\r\n"
        yield self._end
