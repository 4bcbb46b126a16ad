"""Checksums around the HDF5 data of a file: HDF5 reads only bytes that are as they were written.

HDF5 checks little of what it reads: a changed byte can pass for data, crash the library, or keep it
busy for ever. So every results file and part file ends in a seal, which is written before the file
gets its name:

    HDF5 data, with a first line that says what the file is
    copies of blocks that all studies share, such as the table of their names
    table, twice: CRC-32 of each block of the HDF5 data; numbers of the copied blocks; its CRC-32
    end, twice: mark, size of the HDF5 data, number of copies; its CRC-32

Wherever a byte changes, what it belongs to is known, and everything else can be read: a block that
all share has its copy, and so have table and end.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

BLOCK = 4096
"""Bytes under one checksum: small, since damage to one study must not reach far into others."""
READ = BLOCK << 8
"""Bytes that are read at once."""
USER_BLOCK = 512
"""Bytes before the HDF5 data that the library leaves to its users."""
FIRST_LINE = b"medscan results 2\n"
MARK = b"\nsealed\n"
_END = struct.Struct("<8sQQ")
_CRC = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Seal:
    """The checksums of a file.

    Parameters
    ----------
    size : int
        Bytes of HDF5 data.
    sums : uint32 (ceil(size / BLOCK),)
        CRC-32 of each block.
    copies : dict
        Where in the file the copy of a block lies, by the number of the block.
    whole : bool
        Whether both tables and both ends are as they were written.
    """

    size: int
    sums: NDArray[np.uint32]
    copies: dict[int, int]
    whole: bool

    def fits(self, block: int, data: bytes) -> bool:
        """Whether these bytes are those of a block."""
        return zlib.crc32(data) == int(self.sums[block])


@dataclass(frozen=True, slots=True)
class Check:
    """What a look at every byte of a sealed file has found.

    Parameters
    ----------
    seal : Seal
    damaged : bool
        Whether any byte of the file has changed.
    """

    seal: Seal
    damaged: bool


# --- writing ------------------------------------------------------------------------------------


def seal(stream: BinaryIO, shared: Collection[int] = ()) -> None:
    """Write the first line and the seal around complete HDF5 data with a user block.

    Parameters
    ----------
    stream : binary stream
        For reading and writing; it holds the HDF5 data and nothing else.
    shared : collection of int
        Blocks to copy; see `blocks_read`.
    """
    stream.seek(0)
    stream.write(FIRST_LINE.ljust(USER_BLOCK, b"\0"))
    size = stream.seek(0, os.SEEK_END)
    sums, copied = _sums(stream, size), sorted(shared)
    copies = []
    for block in copied:
        stream.seek(block * BLOCK)
        copies.append(stream.read(BLOCK).ljust(BLOCK, b"\0"))
    stream.seek(size)
    stream.writelines(copies)
    table = np.array([*sums, *copied], "<u4").tobytes()
    stream.write(2 * _with_sum(table))
    stream.write(2 * _with_sum(_END.pack(MARK, size, len(copied))))


def _sums(stream: BinaryIO, size: int) -> NDArray[np.uint32]:
    """Return the CRC-32 of each block of the first bytes of a stream; of none that is missing."""
    stream.seek(0)
    sums: list[int] = []
    for start in range(0, size, READ):
        data = memoryview(stream.read(min(READ, size - start)))
        sums += [zlib.crc32(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
    return np.array(sums, np.uint32)


def blocks_read(path: Path, read: Callable[[Any], object]) -> set[int]:
    """Return the blocks of a file that are read when a function gets it as a binary stream."""
    with _Noting(path) as stream:
        read(stream)
        return stream.blocks


class _Noting(io.FileIO):
    """Notes which blocks are read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.blocks = set[int]()

    def readinto(self, buffer: Any, /) -> int:
        self.blocks.update(_blocks_of(self.tell(), len(buffer)))
        return super().readinto(buffer)


def _blocks_of(start: int, count: int) -> range:
    return range(start // BLOCK, -(-(start + count) // BLOCK))


def _with_sum(data: bytes) -> bytes:
    return data + _CRC.pack(zlib.crc32(data))


# --- reading ------------------------------------------------------------------------------------


def was_ours(path: Path) -> bool:
    """Whether a file that has no seal to read was one of medscan's, or holds nothing but zeros.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as stream:
        start = stream.read(USER_BLOCK)
    return start.startswith(FIRST_LINE) or not start.strip(b"\0")


def verified(path: Path) -> bytes | None:
    """Return the HDF5 data of a small file, if every byte of the file is as it was written.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    data = path.read_bytes()
    stream = io.BytesIO(data)
    found = read_seal(stream)
    whole = found is not None and found.whole and _all_fit(stream, found)
    return data[: found.size] if found is not None and whole else None


def check(path: Path) -> Check | None:
    """Check every byte of a file, once for each state that the file is in.

    Returns
    -------
    Check or None
        None: the file has no seal that can be read.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    status = path.stat()
    return _check(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _check(path: Path, *_state: int) -> Check | None:
    with path.open("rb") as stream:
        found = read_seal(stream)
        if found is None:
            return None
        return Check(found, damaged=not (found.whole and _all_fit(stream, found)))


def _all_fit(stream: BinaryIO, found: Seal) -> bool:
    fit = np.array_equal(_sums(stream, found.size), found.sums)
    return fit and all(_copy(stream, found, block) is not None for block in found.copies)


def _length(found: Seal, block: int) -> int:
    return min(BLOCK, found.size - block * BLOCK)


def _copy(stream: BinaryIO, found: Seal, block: int) -> bytes | None:
    if block not in found.copies:
        return None
    stream.seek(found.copies[block])
    data = stream.read(_length(found, block))
    return data if found.fits(block, data) else None


def read_seal(stream: BinaryIO) -> Seal | None:
    """Read the seal of a file; None if it has none, or both copies of a part are damaged."""
    total, one = stream.seek(0, os.SEEK_END), _END.size + _CRC.size
    stream.seek(max(0, total - 2 * one))
    ends = _intact(stream.read(), one)
    if not any(ends) or not (end := ends[0] or ends[1]).startswith(MARK):
        return None
    _, size, count = _END.unpack(end)
    blocks = -(-size // BLOCK)
    tables_at, length = size + count * BLOCK, 4 * (blocks + count) + _CRC.size
    if tables_at + 2 * length + 2 * one != total:
        return None
    stream.seek(tables_at)
    tables = _intact(stream.read(2 * length), length)
    if not any(tables):
        return None
    numbers = np.frombuffer(tables[0] or tables[1], "<u4")
    copies = {int(b): size + place * BLOCK for place, b in enumerate(numbers[blocks:])}
    return Seal(size, numbers[:blocks], copies, all(ends) and all(tables))


def _intact(twice: bytes, length: int) -> list[bytes]:
    """Return two copies without their checksums; one that is damaged is empty."""
    copies = [(c, c[: -_CRC.size]) for c in (twice[:length], twice[length:])]
    return [data if _with_sum(data) == copy else b"" for copy, data in copies]


class Intact(io.RawIOBase):
    """The HDF5 data of a sealed file, for reading: its bytes as written, or none if damaged.

    Parameters
    ----------
    path : Path
    found : Seal
    """

    def __init__(self, path: Path, found: Seal) -> None:
        self._stream, self._seal, self._at = path.open("rb"), found, 0

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer.

        Raises
        ------
        OSError
            If a block of these bytes is damaged and has no copy.
        """
        wanted = _blocks_of(self._at, len(buffer))
        skipped = self._at - wanted.start * BLOCK
        data = b"".join(map(self._block, wanted))[skipped : skipped + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _block(self, block: int) -> bytes:
        if block >= len(self._seal.sums):
            return b""
        self._stream.seek(block * BLOCK)
        data = self._stream.read(_length(self._seal, block))
        if self._seal.fits(block, data):
            return data
        copy = _copy(self._stream, self._seal, block)
        if copy is None:
            raise OSError(f"block {block} is damaged")
        return copy

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place, counted from the start, from here or from the end."""
        self._at = offset + {0: 0, 1: self._at, 2: self._seal.size}[whence]
        return self._at

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._at

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that any place can be read."""
        return True

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()
