"""Bodies of a multipart message (RFC 2046) as they arrive, and whether its end arrived too.

A server that dies while it answers closes the connection as one does that has answered: only the
closing boundary tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from medscan.errors import PacsError, UnavailableError

LONGEST_HEAD = 1 << 14
"""Most bytes between a boundary and the body that follows."""


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a Content-Type declares.

    Raises
    ------
    PacsError
        If it declares none.
    """
    kind, *parameters = content_type.split(";")
    stated = {
        name.strip().lower(): value.strip().strip('"')
        for name, _, value in (parameter.partition("=") for parameter in parameters)
    }
    if kind.strip().lower() != "multipart/related" or not stated.get("boundary"):
        raise PacsError("its answer is not multipart/related with a boundary")
    return stated["boundary"].encode("latin-1", "replace")


def bodies(chunks: Iterable[bytes], boundary: bytes) -> Iterator[Iterator[bytes]]:
    """Yield each body as the pieces that it arrives in; each is to be read before the next.

    Parameters
    ----------
    chunks : iterable of bytes
        The message, cut anywhere.
    boundary : bytes

    Raises
    ------
    UnavailableError
        If the message ends before its closing boundary. The last body is not whole then.
    PacsError
        If it is not a multipart message.
    """
    message = _Message(chunks)
    # The first boundary need not follow the end of a line, as the others do.
    message.data += b"\r\n"
    marker = b"\r\n--" + boundary
    if any(piece.strip(b"\r\n") for piece in message.until(marker)):
        raise PacsError("its answer does not begin with the boundary that it declares")
    while message.peek(2) != b"--":
        for _ in message.until(b"\r\n\r\n", LONGEST_HEAD):
            pass  # its length and type, which every server gets right or leaves out
        body = message.until(marker)
        yield body
        for _ in body:  # what the caller left
            pass


class _Message:
    """Bytes that have arrived and were not handed out yet."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks, self.data = iter(chunks), bytearray()

    def more(self) -> None:
        """Wait for more bytes."""
        chunk = next(self.chunks, None)
        if chunk is None:
            raise UnavailableError("its answer was cut short")
        self.data += chunk

    def peek(self, size: int) -> bytes:
        """Look at the next bytes."""
        while len(self.data) < size:
            self.more()
        return bytes(self.data[:size])

    def take(self, size: int) -> bytes:
        """Hand out so many bytes that are there."""
        taken = bytes(self.data[:size])
        del self.data[:size]
        return taken

    def until(self, marker: bytes, longest: int | None = None) -> Iterator[bytes]:
        """Hand out what stands before a marker, piece by piece, and drop the marker."""
        while (at := self.data.find(marker)) < 0:
            sure = len(self.data) - len(marker) + 1  # a marker may have begun in the last bytes
            if longest is not None and sure > longest:
                raise PacsError("its answer has a part without an end to its head")
            if longest is None and sure > 0:
                yield self.take(sure)
            self.more()
        yield self.take(at)
        del self.data[: len(marker)]
