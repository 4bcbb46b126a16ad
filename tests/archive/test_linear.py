"""Headers are read in a time that grows no faster than they do: an archive is hostile."""

import gc
import struct
import time
import zlib

import pytest

from medscan.archive import Kind, Outcome, read_header
from medscan.archive.elements import _DECIMAL
from medscan.archive.sniff import sniff

from .conftest import as_file

SMALL, LARGE = 250_000, 1_000_000


@pytest.mark.parametrize("line", [b"name = value\n", b"name =    value\n", b"a = b = c\n"])
def test_lines_like_those_of_a_metaimage_are_refused_at_once(line):
    started = time.process_time()
    assert sniff(line * (4096 // len(line))).kind is None
    assert time.process_time() - started < 1.0  # some 25 such lines took minutes


@pytest.mark.parametrize(
    "head",
    [
        b"ObjectType = Image\nNDims = 3\n",
        b"\n Comment =   a = b\nDimSize=4 4 4\n",
        b"ObjectType = Image\r\nNDims  =  2\r\n",
    ],
)
def test_metaimage_headers_are_recognised_as_before(head):
    assert sniff(head).kind is Kind.ITK


@pytest.mark.parametrize("text", ["1", "1.5", ".5", "1.", "-2.5e-3", "+1E5"])
def test_decimal_strings_are_those_of_the_standard(text):
    assert _DECIMAL.fullmatch(text)


# --- whole files, small and four times as large --------------------------------------------------


def filled(text: bytes, size: int) -> bytes:
    return (text * (size // len(text) + 1))[: size & ~1]


def meta_image(field, text):
    start = b"ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\n"
    return lambda size: start + field + filled(text, size) + b"\nElementDataFile = LOCAL\n"


def nrrd(field, text):
    start = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n"
    return lambda size: start + field + filled(text, size) + b"\n\n" + bytes(8)


def element(tag, vr, value):
    value += b" " * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"OB", b"OW", b"UN", b"SQ", b"UT"):
        return head + struct.pack("<HL", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def implicit(tag, value):
    """Without a VR, a text may be longer than 64 kB."""
    value += b" " * (len(value) % 2)
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


PLAIN = {
    0x00080008: b"ORIGINAL\\PRIMARY\\M",
    0x00080016: b"1.2.840.10008.5.1.4.1.1.4\0",
    0x00080018: b"1.2.3",
    0x00080060: b"MR",
    0x0020000D: b"1.2",
    0x0020000E: b"1.3",
    0x00280010: struct.pack("<H", 4),
    0x00280011: struct.pack("<H", 4),
}


def dicom(tag, text, elements=None):
    """A data set in which one value is long."""

    def write(size):
        values = PLAIN | (elements or {}) | {tag: filled(text, size + size // 5)}
        data = b"".join(implicit(t, v) for t, v in sorted(values.items()))
        syntax = element(0x00020010, b"UI", b"1.2.840.10008.1.2\0")
        group = element(0x00020000, b"UL", struct.pack("<L", len(syntax)))
        pixels = implicit(0x7FE00010, bytes(32))
        return bytes(128) + b"DICM" + group + syntax + data + pixels

    return write


def csa(size):
    """A mosaic whose private header has as many items as it may."""
    count = size // 100
    head = b"SV10\4\3\2\1" + struct.pack("<LL", min(count, 128), 77)
    tag = b"N".ljust(64, b"\0") + struct.pack("<l4slll", 1, b"IS\0\0", 6, size // 256, 77)
    return (head + tag * count)[:size]


def mosaic(size):
    elements = {
        0x00080008: b"ORIGINAL\\PRIMARY\\MOSAIC",
        0x00290010: b"SIEMENS CSA HEADER",
        0x00291010: csa(size),
    }
    return dicom(0x00400000, b"x", elements=elements)(2)


def items(size):
    """Sequences within sequences, and as many items as fit."""
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
    return dicom(0x00081140, item)(size)


def elements(size):
    number = range(size // 10)
    data = b"".join(struct.pack("<HHLh", 9 + 2 * (n >> 12), n & 0xFFF, 2, 0) for n in number)
    return dicom(0x00080050, b"1")(2)[:-44] + data


def png(kind, text):
    def chunk(name, data):
        body = name + data
        return struct.pack(">L", len(data)) + body + struct.pack(">L", zlib.crc32(body))

    def write(size):
        start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">LLBBBBB", 4, 4, 8, 0, 0, 0, 0))
        pixels = chunk(b"IDAT", zlib.compress(bytes(20)))
        one = chunk(kind, text)
        return start + one * (size // len(one)) + pixels + one + chunk(b"IEND", b"")

    return write


def tiff(size):
    """As many pages as fit, none of them with pixels."""
    tags = [(256, 4), (257, 4), (258, 8), (259, 1), (262, 1)]
    page = 2 + 12 * len(tags) + 4
    count, data = size // page, b"II*\0" + struct.pack("<L", 8)
    for n in range(count):
        data += struct.pack("<H", len(tags))
        data += b"".join(struct.pack("<HHLL", tag, 3, 1, value) for tag, value in tags)
        data += struct.pack("<L", 0 if n == count - 1 else 8 + (n + 1) * page)
    return data


def tiff_of_many_tags(size):
    count = min(size // 12, 65_000)
    entry = b"".join(struct.pack("<HHLL", 256 + n, 3, 1, 4) for n in range(count))
    return b"II*\0" + struct.pack("<L", 8) + struct.pack("<H", count) + entry + bytes(4)


def jpeg(size):
    segment = b"\xff\xe5" + struct.pack(">H", 34) + bytes(32)
    return b"\xff\xd8" + segment * (size // len(segment)) + b"\xff\xd9"


def nifti(size):
    head = bytearray(348)
    head[:4], head[344:348] = struct.pack("<L", 348), b"n+1\0"
    head[40:56] = struct.pack("<8h", 3, 2, 2, 2, 1, 1, 1, 1)
    head[70:74], head[108:112] = struct.pack("<hh", 2, 8), struct.pack("<f", 352 + size)
    extensions = struct.pack("<LL", 16, 6) + b"x" * 8
    return bytes(head) + b"\1\0\0\0" + filled(extensions, size) + bytes(8)


FILES = {
    "meta lines": meta_image(b"", b"a = b\n"),
    "meta names": meta_image(b"", b"a\n"),
    "meta equals": meta_image(b"Comment ", b"="),
    "meta spaces": meta_image(b"Comment = x", b" "),
    "meta sizes": meta_image(b"DimSize = ", b"1 "),
    "meta digits": meta_image(b"NDims = ", b"9"),
    "meta offset": meta_image(b"Offset = ", b"1"),
    "meta spacing": meta_image(b"ElementSpacing = 0.", b"1"),
    "meta matrix": meta_image(b"TransformMatrix = ", b"1 "),
    "nrrd lines": nrrd(b"", b"a: b\n"),
    "nrrd keys": nrrd(b"", b"a:=b\n"),
    "nrrd open": nrrd(b"space directions: ", b"("),
    "nrrd cut": nrrd(b"space directions: ", b"(1,0,0"),
    "nrrd none": nrrd(b"space directions: ", b"none("),
    "nrrd closed": nrrd(b"space directions: ", b"(1,0,0) "),
    "nrrd commas": nrrd(b"space directions: (1,0,0) (0,1,0) (", b"1,"),
    "nrrd digits": nrrd(b"spacings: 1 1 ", b"1"),
    "nrrd origin": nrrd(b"space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: ", b"(1,"),
    "nrrd sizes": nrrd(b"sizes: ", b"2 "),
    "nifti extensions": nifti,
    "DS values": dicom(0x00200032, b"1.5\\"),
    "DS digits": dicom(0x00200032, b"1"),
    "DS dots": dicom(0x00280030, b"1.1."),
    "IS values": dicom(0x00200013, b"1\\"),
    "IS digits": dicom(0x00200013, b"9"),
    "DA": dicom(0x00080020, b"20240101\\"),
    "TM": dicom(0x00080030, b"101010.5\\"),
    "PN": dicom(0x00100010, b"a^b=c^d\\"),
    "PN in Japanese": dicom(
        0x00100010, b"\x1b$B;3\x1b(B^", elements={0x00080005: b"\\ISO 2022 IR 87"}
    ),
    "LO in Japanese": dicom(
        0x0008103E, b"\x1b$B;3\x1b(B ", elements={0x00080005: b"\\ISO 2022 IR 87"}
    ),
    "LO": dicom(0x0008103E, b"T1 "),
    "CS": dicom(0x00080008, b"A\\"),
    "UI values": dicom(0x0020000D, b"1.2\\"),
    "UI digits": dicom(0x0020000E, b"1"),
    "charsets": dicom(0x00080005, b"ISO_IR 100\\"),
    "items": items,
    "elements": elements,
    "mosaic": mosaic,
    "png text": png(b"tEXt", b"a\0b"),
    "png exif": png(b"eXIf", b"II*\0\10\0\0\0\0\0"),
    "png profile": png(b"tEXt", b"Raw profile type exif\0\n\n1\n00"),
    "tiff pages": tiff,
    "tiff tags": tiff_of_many_tags,
    "jpeg": jpeg,
}


def seconds(file):
    gc.disable()  # what it costs depends on all that earlier tests have left behind
    started = time.process_time()
    record = read_header(file)
    spent = time.process_time() - started
    gc.enable()
    refused = isinstance(record, Outcome) and record.reason == "not-an-image"
    # Not by its first bytes, before anything long is read.
    assert not refused or "no pixel data" in record.detail, record
    return spent


@pytest.mark.parametrize("name", FILES)
def test_four_times_the_header_takes_four_times_as_long(tmp_path, name):
    small, large = (tmp_path / str(size) for size in (SMALL, LARGE))
    small.write_bytes(FILES[name](SMALL))
    large.write_bytes(FILES[name](LARGE))
    first = seconds(as_file(small))  # what is imported and cached on the way is not counted below
    fast = min(first, seconds(as_file(small)))
    slow = min(seconds(as_file(large)) for _ in range(3))
    assert slow < 0.05 + 10 * fast  # a quadratic reader would take 16 times as long
