"""Headers larger and deeper than those of any image, refused by name in little memory."""

from __future__ import annotations

import os
import struct
import tracemalloc

import numpy as np
import pytest

from medscan import worker
from medscan.archive import Header, Reason, index, read_header, readers
from medscan.archive.elements import MAX_HEADER, MAX_VALUE

from .conftest import as_file, write
from .test_linear import PLAIN, element, implicit

DESCRIPTION, REFERENCED, PER_FRAME = 0x0008103E, 0x00081140, 0x52009230
PRIVATE, CSA = 0x00291020, 0x00291010
ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def dicom(path, *more, pixels=True):
    """An implicit VR object with more elements: (tag, bytes), with their length, or (tag, gap).

    A gap is a value that takes no room on the disk.
    """
    plain = PLAIN | {0x00280100: struct.pack("<H", 8)}
    values = {tag: implicit(tag, value) for tag, value in plain.items()}
    gaps = {}
    for tag, value in more:
        if isinstance(value, int):
            values[tag] = struct.pack("<HHL", tag >> 16, tag & 0xFFFF, value)
            gaps[tag] = value
        else:
            values[tag] = value
    syntax = element(0x00020010, b"UI", b"1.2.840.10008.1.2\0")
    group = element(0x00020000, b"UL", struct.pack("<L", len(syntax)))
    with path.open("wb") as stream:
        stream.write(bytes(128) + b"DICM" + group + syntax)
        for tag, data in sorted(values.items()):
            stream.write(data)
            stream.seek(gaps.get(tag, 0), os.SEEK_CUR)
        stream.write(implicit(0x7FE00010, bytes(16)) if pixels else b"")
        stream.truncate()
    return as_file(path)


def undefined(tag, value):
    """A sequence of undefined length."""
    return tag, struct.pack("<HHLL", tag >> 16, tag & 0xFFFF, 0xFFFFFFFF, 0)[:8] + value


def nested(tag, depth):
    head = ITEM + undefined(tag, b"")[1]
    inner = ITEM_END + SEQUENCE_END
    return undefined(tag, head * depth + ITEM + ITEM_END + SEQUENCE_END + inner * depth)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ((DESCRIPTION, 100 << 20), f"element (0008,103E) of its header has {100 << 20} bytes"),
        ((CSA, 1 << 30), f"element (0029,1010) of its header has {1 << 30} bytes"),
        ((PER_FRAME, 100 << 20), f"its header is over the limit of {MAX_HEADER} bytes"),
        (nested(REFERENCED, 5000), "its sequences lie too deep within one another"),
        (nested(PER_FRAME, 5000), "its sequences lie too deep within one another"),
    ],
)
def test_what_no_image_needs_is_refused_in_little_memory(tmp_path, more, why):
    small = dicom(tmp_path / "small", pixels=True)
    assert isinstance(read_header(small), Header)
    file = dicom(tmp_path / "large", more)
    tracemalloc.start()
    record = read_header(file)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 * MAX_HEADER
    assert (record.reason, record.detail) == (Reason.HEADER_TOO_LARGE, why)


def test_what_nobody_reads_may_be_as_large_as_it_likes(tmp_path):
    assert isinstance(read_header(dicom(tmp_path / "private", (PRIVATE, 1 << 30))), Header)


@pytest.mark.parametrize("size", [MAX_VALUE, MAX_VALUE + 2])
def test_the_bound_is_the_same_for_every_reader(tmp_path, size):
    """One element of a megabyte is read quickly; a private one of 20 leaves it to pydicom."""
    text = (DESCRIPTION, implicit(DESCRIPTION, b"T1".ljust(size)))
    quick = dicom(tmp_path / "quick", text)
    slow = dicom(tmp_path / "slow", text, (PRIVATE, 20 << 20))
    records = [read_header(quick), read_header(slow)]
    if size <= MAX_VALUE:
        assert [record.description for record in records] == ["T1", "T1"]
    else:
        assert {record.reason for record in records} == {Reason.HEADER_TOO_LARGE}


def test_a_file_that_is_cut_is_not_called_large(tmp_path):
    file = dicom(tmp_path / "cut", (DESCRIPTION, 100 << 20), pixels=False)
    os.truncate(file.full, 1000)
    assert read_header(as_file(file.full)).reason is Reason.TRUNCATED


def serve_hoarding(*args):
    readers.read_header.__globals__["_read"] = _hoarding(readers.read_header.__globals__["_read"])
    worker.serve(*args)


def _hoarding(real):
    def read(file, *rest, **named):
        if file.path == "hoards":
            np.zeros(worker.SPARE * 3, np.uint8)
        return real(file, *rest, **named)

    return read


def test_a_worker_gets_no_more_memory_than_its_bound(tmp_path, serve_with):
    for name in ("a", "hoards", "z"):
        write(tmp_path / name, SOPInstanceUID=f"1.2.{ord(name[0])}")
    serve_with(serve_hoarding)
    found = index([tmp_path])
    assert [len(study.files()) for study in found.studies] == [2]
    (lost,) = found.set_aside
    assert (lost.file.path, lost.reason) == ("hoards", Reason.DECODER_DIED)
    assert lost.detail == "header: it does not fit into memory"
