"""No frame is left out in silence: pixel data of more frames than declared are refused."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from medscan.archive import Reason, index
from medscan.archive.types import ArchiveFile
from medscan.decoding import DicomFile
from medscan.errors import CorruptError
from tests.archive.conftest import dataset

FRAMES = np.arange(3 * 32 * 32, dtype=np.uint16).reshape(3, 32, 32)


def three_frames(**tags):
    return dataset(Rows=32, Columns=32, NumberOfFrames=3, PixelData=FRAMES.tobytes(), **tags)


def saved(folder, ds, declared):
    ds.NumberOfFrames = declared
    if declared is None:
        del ds.NumberOfFrames
    ds.save_as(folder / "a", enforce_file_format=True)
    stat = (folder / "a").stat()
    return ArchiveFile("a", folder, stat.st_size, stat.st_mtime_ns)


@pytest.mark.parametrize("declared", [None, 0, 1, 2])
def test_native_frames_beyond_those_declared(tmp_path, declared):
    saved(tmp_path, three_frames(), declared)
    (failed,) = index([tmp_path]).set_aside
    assert failed.reason is Reason.CORRUPT
    said = f"its pixel data hold 3 frames, and its header declares {declared or 1}"
    assert failed.detail == said


@pytest.mark.parametrize("declared", [None, 1, 2])
@pytest.mark.parametrize("offsets", [True, False])
@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_frames_beyond_those_declared(tmp_path, syntax, offsets, declared):
    ds = three_frames()
    ds.compress(syntax, generate_instance_uid=False)
    frames = list(generate_frames(ds.PixelData, number_of_frames=3))
    ds.PixelData = encapsulate(frames, has_bot=offsets)
    file = saved(tmp_path, ds, declared)
    with pytest.raises(CorruptError, match="hold 3 frames, and its header declares"):
        DicomFile(file, 2**26)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_one_frame_may_be_in_several_fragments(tmp_path, syntax):
    ds = dataset(Rows=32, Columns=32, PixelData=FRAMES[0].tobytes())
    ds.compress(syntax, generate_instance_uid=False)
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = encapsulate([frame], fragments_per_frame=3)
    file = saved(tmp_path, ds, 1)
    assert np.array_equal(DicomFile(file, 2**26).plane(0).pixels, FRAMES[0])


@pytest.mark.parametrize("extra", [0, 1, 100])
def test_bytes_behind_the_last_frame_are_padding(tmp_path, extra):
    """A single pixel of 8 bits has a byte of it already."""
    ds = dataset(Rows=1, Columns=1, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=b"\7\0")
    saved(tmp_path, ds, 1)
    assert index([tmp_path]).set_aside == ()
    ds = dataset(Rows=32, Columns=32, PixelData=FRAMES[0].tobytes() + bytes(2 * extra))
    saved(tmp_path, ds, None)
    assert index([tmp_path]).set_aside == ()


def test_a_name_of_422_that_a_decoder_left_hides_no_frames(tmp_path):
    said = {"PhotometricInterpretation": "YBR_FULL_422", "SamplesPerPixel": 3, "HighBit": 7}
    said |= {"PlanarConfiguration": 0, "BitsAllocated": 8, "BitsStored": 8}
    ds = dataset(Rows=8, Columns=8, PixelData=bytes(10 * 8 * 8 * 3), **said)
    saved(tmp_path, ds, 10)
    assert index([tmp_path]).set_aside == ()
    saved(tmp_path, ds, 9)
    (failed,) = index([tmp_path]).set_aside
    assert failed.detail.startswith("its pixel data hold 10 frames")
