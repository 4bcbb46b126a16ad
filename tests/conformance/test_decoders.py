"""Four decoders on the first frames of an archive: who agrees with whom, and who is right.

    python -m tests.conformance.test_decoders

prints the agreements by transfer syntax and pair of readers. Palettes, windows and padding are not
compared: a second decoder is asked for decoding alone.
"""

from __future__ import annotations

import gzip
import itertools
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from medscan.archive.types import ArchiveFile
from medscan.decoding import DicomFile, file_errors
from medscan.errors import FileError

from .conftest import ARCHIVE, rows
from .readers import stored_by_dcmtk, stored_by_gdcm, stored_by_medscan, stored_by_pydicom

MAX_FILE_BYTES = 2**28
READERS = ("medscan", "pydicom", "GDCM", "DCMTK")
LOSSY = ("JPEG Baseline", "JPEG Extended", "JPEG-LS Lossy", "JPEG 2000 Image Compression")
SIGN = (
    "PS3.5 8.2.3: JPEG-LS has no sign; 8.1.1: Pixel Representation and the 15 bits stored say it. "
    "GDCM leaves the values without it"
)
SEGMENTS = (
    "PS3.5 G.2: a segment for each byte, the most significant first, of each sample in turn. "
    "GDCM puts the segments of samples of more than a byte together otherwise"
)
EXPLAINED = {
    "PACS/by-ticket/GH195.dcm": (
        "PS3.5 8.2.1 and ISO/IEC 10918-5: the codestream is JFIF, and so YCbCr; its header says RGB"
    ),
    "incoming/2019/unsorted/J2K_pixelrep_mismatch.dcm": (
        "PS3.5 8.2.4: the sign in the codestream is to agree with Pixel Representation, and does "
        "not. Its air (-2000) shows that the header is right"
    ),
    "incoming/2019/unsorted/SC_rgb_rle_16bit.dcm": SEGMENTS,
    "incoming/2019/unsorted/SC_rgb_rle_16bit_2frame.dcm": SEGMENTS,
    "incoming/2019/unsorted/SC_rgb_rle_32bit.dcm": SEGMENTS,
    "incoming/2019/unsorted/SC_rgb_rle_32bit_2frame.dcm": SEGMENTS,
    "incoming/2020/vendor demo discs/JLSL_16_15_1_1F.dcm": SIGN,
}
"""Files on which readers differ, and which section of the standard says who is right: medscan."""
ALONE = {
    "PACS/by-ticket/GH340.dcm": "PS3.5 8.1.1 and annex D: 12 bits allocated, two pixels in 3 bytes"
}
"""Files that medscan alone reads, and how."""


class FirstFrame(NamedTuple):
    path: str
    syntax: str
    by_reader: dict[str, np.ndarray | None]


def first_frames() -> list[FirstFrame]:
    """The first frame of every DICOM image of the archive, as each reader decodes it."""
    images = [
        row
        for row in rows("expected.csv")
        if row["kind"].startswith("dicom") and row["expected"] == "scanned"
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [_plain(ARCHIVE / "files" / row["path"], folder) for row in images]
        by_gdcm = stored_by_gdcm(paths, folder)
        return [
            FirstFrame(
                row["path"],
                row["transfer_syntax_name"],
                {
                    "medscan": _by_medscan(path),
                    "pydicom": _quietly(stored_by_pydicom, path),
                    "GDCM": frame,
                    "DCMTK": _quietly(stored_by_dcmtk, path, folder),
                },
            )
            for row, path, frame in zip(images, paths, by_gdcm, strict=True)
        ]


def _plain(path: Path, folder: Path) -> Path:
    """The file itself, or a copy of it unpacked."""
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return path
    unpacked = folder / f"{len(list(folder.iterdir()))}.dcm"
    unpacked.write_bytes(gzip.decompress(data))
    return unpacked


def _by_medscan(path: Path) -> np.ndarray:
    stat = path.stat()
    file = ArchiveFile(path.name, path.parent, stat.st_size, stat.st_mtime_ns)
    with file_errors():
        return stored_by_medscan(DicomFile(file, MAX_FILE_BYTES))


def _quietly(read, *arguments: Path) -> np.ndarray | None:
    try:
        with file_errors():
            return read(*arguments)
    except FileError:
        return None


def agree(frame: FirstFrame, one: str, other: str) -> bool | None:
    """Whether two readers agree on a frame; None where one of them reads nothing.

    To the last bit, or in the mean to 1 % of the range: lossy decoders round differently, and
    interpolate chroma differently.
    """
    a, b = frame.by_reader[one], frame.by_reader[other]
    if a is None or b is None:
        return None
    if a.shape != b.shape:
        return False
    off = np.abs(a.astype(np.float64) - b.astype(np.float64))
    if a.ndim == 3 or (frame.syntax.startswith(LOSSY) and not frame.syntax.endswith("Only)")):
        return bool(off.mean() <= 0.01 * max(1.0, float(np.ptp(b))))
    precision = 1e-7 if "f" in (a.dtype.kind, b.dtype.kind) else 0.0  # medscan's 32 bits
    return bool(off.max() <= precision * float(np.abs(b).max()))


def table(frames: list[FirstFrame]) -> Iterator[str]:
    """Agreements by transfer syntax and pair of readers."""
    counts: dict[tuple[str, str], Counter[bool | None]] = defaultdict(Counter)
    for frame in frames:
        for one, other in itertools.combinations(READERS, 2):
            found = agree(frame, one, other)
            for syntax in (frame.syntax, "all"):
                counts[syntax, f"{one} and {other}"][found] += 1
    for (syntax, pair), found in sorted(counts.items()):
        yield f"{syntax}: {pair}: {found[True]} agree, {found[False]} differ, {found[None]} unread"


@pytest.fixture(scope="module")
def frames() -> list[FirstFrame]:
    if not ARCHIVE.is_dir():
        pytest.skip("no archive beside the repository")
    pytest.importorskip("gdcm", reason="needs GDCM to compare with")
    if not all(map(shutil.which, ("dcmdjpeg", "dcmdjpls", "dcmdrle", "dcmconv"))):
        pytest.skip("needs DCMTK to compare with")
    return first_frames()


def test_readers_differ_only_where_the_standard_says_who_is_right(frames):
    differ = {
        frame.path
        for frame in frames
        for one, other in itertools.combinations(READERS, 2)
        if agree(frame, one, other) is False
    }
    assert len(frames) > 500
    assert differ == set(EXPLAINED), list(table(frames))


def test_every_frame_is_read_by_a_second_reader(frames):
    alone = [
        frame.path
        for frame in frames
        if not any(agree(frame, "medscan", other) for other in READERS[1:])
    ]
    assert set(alone) <= set(EXPLAINED) | set(ALONE)


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in table(first_frames()))
