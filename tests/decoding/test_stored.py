"""Pixels at the edges of their encoding: bits around them, offsets of frames, other processes."""

import shutil
import struct
import subprocess

import jpeg_ls
import numpy as np
import openjpeg
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels import convert_color_space
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medscan.archive import Reason, index
from medscan.decoding.dicom import DicomFile
from medscan.decoding.stored import significant
from medscan.errors import CorruptError, TruncatedError, UnsupportedError
from medscan.imaging import read_planes
from tests.imaging.make import MAX_FILE_BYTES, dicom_of, header, stack_of, write_dicom

RNG = np.random.default_rng(11)
FILM = RNG.integers(0, 4096, (40, 36)).astype(np.uint16)
OVERLAY = RNG.integers(0, 2, FILM.shape).astype(np.uint16)
SIDE = FILM.shape


def only(stack):
    (found,) = read_planes(stack, stack.frames, MAX_FILE_BYTES)
    return found


def j2k(pixels, **options):
    wanted = {"bits_stored": 8 * pixels.dtype.itemsize, "photometric_interpretation": 2}
    return openjpeg.utils.encode_array(pixels, codec_format=0, **(wanted | options))


def jls(pixels, **options):
    return bytes(jpeg_ls.encode_array(pixels, **options))


def rle(pixels):
    ds = header(pixels)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.compress(RLELossless, generate_instance_uid=False)
    return next(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1))


def write(path, pixels, data, syntax, **tags):
    ds = header(pixels, PixelData=data, **tags)
    ds["PixelData"].VR = "OW" if syntax == ExplicitVRLittleEndian else "OB"
    return stack_of([write_dicom(path, ds, syntax)], *pixels.shape[:2])


def packed(path, pixels, codestream, syntax, **tags):
    return write(path, pixels, encapsulate([codestream]), syntax, **tags)


ENCODERS = {
    ExplicitVRLittleEndian: None,
    RLELossless: rle,
    JPEGLSLossless: jls,
    JPEG2000Lossless: j2k,
}
TWELVE = {"BitsStored": 12, "HighBit": 11}


def stored_as(path, cells, syntax, **tags):
    """A file of cells of 16 bits, which its codec, if any, keeps whole."""
    encode = ENCODERS[syntax]
    if encode is None:
        return write(path, cells, cells.tobytes(), syntax, **tags)
    return packed(path, cells, encode(cells), syntax, **tags)


@pytest.mark.parametrize("syntax", ENCODERS)
@pytest.mark.parametrize("signed", [False, True])
def test_bits_beyond_bits_stored_are_no_pixel(tmp_path, syntax, signed):
    """PS3.5 8.1.1. Signed values of 12 bits also extend their sign, whatever fills the cell."""
    cells = FILM | OVERLAY << 15 | OVERLAY << 13
    stack = stored_as(tmp_path / "a", cells, syntax, **TWELVE, PixelRepresentation=int(signed))
    wanted = np.where(FILM < 2048, FILM, FILM - 4096.0) if signed else FILM
    assert np.array_equal(only(stack).pixels, wanted)


@pytest.mark.parametrize("syntax", ENCODERS)
@pytest.mark.parametrize("signed", [False, True])
def test_high_bit_says_where_the_pixel_lies_in_its_cell(tmp_path, syntax, signed):
    """Legal until PS3.5 2014c: the pixel in the upper bits, anything in those below."""
    cells = FILM << 4 | OVERLAY * 5
    tags = {"BitsStored": 12, "HighBit": 15, "PixelRepresentation": int(signed)}
    wanted = np.where(FILM < 2048, FILM, FILM - 4096.0) if signed else FILM
    assert np.array_equal(only(stored_as(tmp_path / "a", cells, syntax, **tags)).pixels, wanted)


def test_high_bit_in_big_endian_and_in_colour(tmp_path):
    tags = {"BitsStored": 12, "HighBit": 15}
    big = write_dicom(
        tmp_path / "big",
        header(FILM, PixelData=(FILM << 4).astype(">u2").tobytes(), **tags),
        ExplicitVRBigEndian,
    )
    assert np.array_equal(only(stack_of([big], *SIDE)).pixels, FILM)
    colour = RNG.integers(0, 4096, (6, 4, 3)).astype(np.uint16)
    found = only(dicom_of(colour << 4, tmp_path / "colour", **tags)).pixels
    assert np.allclose(found, colour * (255 / 4095), atol=1e-4)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_a_codec_that_keeps_twelve_bits_has_none_below_them(tmp_path, syntax):
    """Its frame holds the pixel alone, wherever High Bit says that it was in its cell."""
    encode = jls if syntax == JPEGLSLossless else j2k
    named = {} if syntax == JPEGLSLossless else {"bits_stored": 12}
    tags = {"BitsStored": 12, "HighBit": 15}
    stack = packed(tmp_path / "a", FILM, encode(FILM, **named), syntax, **tags)
    assert np.array_equal(only(stack).pixels, FILM)


@pytest.mark.parametrize("high_bit", [7, 16, 99])
def test_a_high_bit_that_cannot_be_is_ignored(tmp_path, high_bit):
    stack = dicom_of(FILM, tmp_path / "a", BitsStored=12, HighBit=high_bit)
    assert np.array_equal(only(stack).pixels, FILM)


def test_what_a_lossy_codec_overshoots_is_not_turned_around(tmp_path):
    """White film: values past 4095 are no bits of an overlay, and must not become black."""
    film = np.where(OVERLAY, 4095, 4080).astype(np.uint16)
    data = j2k(film, compression_ratios=[12])
    assert openjpeg.decode(data).max() > 4095
    stack = packed(tmp_path / "a", film, data, JPEG2000, **TWELVE)
    assert np.abs(only(stack).pixels - film).max() < 100
    over = np.array([-2050, -2048, 2047, 2051], np.int16)
    kept = significant(over, 12, 0, signed=True, lossy=True)
    assert kept.tolist() == [-2048, -2048, 2047, 2047]


def test_a_frame_deeper_than_its_cell_is_refused(tmp_path):
    small = FILM.astype(np.uint8)
    found = only(packed(tmp_path / "a", small, j2k(FILM), JPEG2000Lossless))
    assert isinstance(found, CorruptError)
    assert "16 bits" in str(found)


ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
FRAMES = RNG.integers(0, 4096, (3, *SIDE)).astype(np.uint16)


def items(*contents):
    parts = [c + b"\0" * (len(c) % 2) for c in contents]
    return b"".join(ITEM + struct.pack("<L", len(part)) + part for part in parts)


def frames_of(tmp_path, data, **tags):
    tags = {"NumberOfFrames": 3} | tags
    stack = write(tmp_path / "a", FRAMES[0], data, JPEG2000Lossless, **tags)
    file = DicomFile(stack.frames[0].file, MAX_FILE_BYTES)
    return [file.plane(n).pixels for n in range(3)]


@pytest.mark.parametrize(
    "table", [(0, 0, 0), (), (0, 7, 11), (5, 6, 7), (0, 2**31, 2**32 - 1), (0,)]
)
def test_each_frame_is_its_own_fragment_where_the_offsets_are_false(tmp_path, table):
    """PS3.5 A.4: offsets that are no fragment's would show one frame as another."""
    data = items(struct.pack(f"<{len(table)}L", *table), *map(j2k, FRAMES)) + END
    assert np.array_equal(frames_of(tmp_path, data), FRAMES)


def test_offsets_that_are_true_are_followed(tmp_path):
    halves = [half for f in map(j2k, FRAMES) for half in (f[:100], f[100:])]
    sizes = [8 + len(half) + len(half) % 2 for half in halves]
    offsets = [0, sum(sizes[:2]), sum(sizes[:4])]
    data = items(struct.pack("<3L", *offsets), *halves) + END
    assert np.array_equal(frames_of(tmp_path, data), FRAMES)


@pytest.mark.parametrize("false", [False, True])
def test_extended_offsets(tmp_path, false):
    data, offsets, lengths = encapsulate_extended([j2k(f) for f in FRAMES])
    offsets = bytes(24) if false else offsets
    tags = {"ExtendedOffsetTable": offsets, "ExtendedOffsetTableLengths": lengths}
    assert np.array_equal(frames_of(tmp_path, data, **tags), FRAMES)


def test_fewer_fragments_than_frames_fail(tmp_path):
    data = items(struct.pack("<3L", 0, 0, 0), *map(j2k, FRAMES[:2])) + END
    with pytest.raises(TruncatedError, match="2 of 3"):
        frames_of(tmp_path, data)


def test_frames_before_the_end_of_a_cut_file_are_read(tmp_path):
    streams = [j2k(f) for f in FRAMES]
    sizes = [8 + len(s) + len(s) % 2 for s in streams]
    data = items(struct.pack("<3L", 0, sizes[0], sizes[0] + sizes[1]), *streams[:2])
    stack = write(tmp_path / "a", FRAMES[0], data + END, JPEG2000Lossless, NumberOfFrames=3)
    file = DicomFile(stack.frames[0].file, MAX_FILE_BYTES)
    assert np.array_equal(file.plane(1).pixels, FRAMES[1])


def test_a_single_frame_needs_no_offset(tmp_path):
    data = items(struct.pack("<L", 1234), j2k(FILM)) + END
    assert np.array_equal(only(write(tmp_path / "a", FILM, data, JPEG2000Lossless)).pixels, FILM)


COLOUR = RNG.integers(0, 256, (6, 8, 3)).astype(np.uint8)


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_without_samples_left_out_is_not_subsampled(tmp_path, planar):
    """PS3.3 C.7.6.3.1.2: YBR_FULL_422 holds two thirds of the samples; by length, this is whole."""
    ybr = convert_color_space(COLOUR, "RGB", "YBR_FULL")
    data = (ybr.transpose(2, 0, 1) if planar else ybr).tobytes()
    tags = {"PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": planar}
    found = only(write(tmp_path / "a", COLOUR, data, ExplicitVRLittleEndian, **tags)).pixels
    assert np.array_equal(found, convert_color_space(ybr, "YBR_FULL", "RGB"))
    assert np.abs(found - COLOUR).max() <= 2


@pytest.mark.parametrize("photometric", ["YBR_RCT", "YBR_ICT"])
def test_what_jpeg_2000_transforms_is_rgb_once_decompressed(tmp_path, photometric):
    tags = {"PhotometricInterpretation": photometric}
    found = only(write(tmp_path / "a", COLOUR, COLOUR.tobytes(), ExplicitVRLittleEndian, **tags))
    assert np.array_equal(found.pixels, COLOUR)


@pytest.mark.parametrize("photometric", ["HSV", "YBR_PARTIAL_422"])
def test_retired_colour_spaces_are_refused_by_name(tmp_path, photometric):
    found = only(dicom_of(COLOUR, tmp_path / "a", PhotometricInterpretation=photometric))
    assert isinstance(found, UnsupportedError)
    assert photometric in str(found)


def table(first, entries, bits=16):
    lut = Dataset()
    lut.LUTDescriptor = [len(entries), first, bits]
    lut.LUTData = np.array(entries, "<u2").tobytes()
    lut.ModalityLUTType = "US"
    return [lut]


def test_padding_under_a_modality_lut_is_hidden(tmp_path):
    """PS3.3 C.7.5.1.1.2: padding is a stored value, whatever a LUT makes of it."""
    pixels = np.array([[0, 1], [2, 3]], np.uint16)
    tags = {"ModalityLUTSequence": table(0, [50, 70, 60, 9000]), "PixelPaddingValue": 3}
    assert only(dicom_of(pixels, tmp_path / "a", **tags)).pixels.tolist() == [[50, 70], [60, 50]]


def test_padding_is_found_before_and_after_the_pixel_is_placed(tmp_path):
    """A pad beyond Bits Stored (63536 of 12 bits) equals no pixel once its bits are dropped."""
    pixels = np.array([[100, 2096], [63536, 300]], np.uint16)
    stack = dicom_of(pixels, tmp_path / "a", **TWELVE, PixelPaddingValue=63536)
    assert only(stack).pixels.tolist() == [[100, 2096], [100, 300]]
    placed = np.array([[100, 200], [4000, 300]], np.uint16) << 4
    tags = {"BitsStored": 12, "HighBit": 15, "PixelPaddingValue": 4000}
    assert only(dicom_of(placed, tmp_path / "b", **tags)).pixels.tolist() == [
        [100, 200],
        [100, 300],
    ]


@pytest.mark.parametrize("kind", ["Float", "DoubleFloat"])
def test_padding_of_floating_point_pixels(tmp_path, kind):
    pixels = np.array([[1.5, -9e9], [2.5, 3.5]], "f4" if kind == "Float" else "f8")
    ds = header(np.zeros((2, 2), np.uint16))
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    setattr(ds, f"{kind}PixelData", pixels.tobytes())
    setattr(ds, f"{kind}PixelPaddingValue", float(pixels[0, 1]))
    found = only(stack_of([write_dicom(tmp_path / "a", ds)], 2, 2))
    assert found.pixels.tolist() == [[1.5, 1.5], [2.5, 3.5]]


def test_a_dark_frame_does_not_change_the_depth_of_its_palette(tmp_path):
    pixels = np.array([[[0, 1], [1, 0]], [[0, 2], [2, 1]]], np.uint8)
    ds = header(pixels[0], PhotometricInterpretation="PALETTE COLOR", NumberOfFrames=2)
    ds.PixelData = pixels.tobytes()
    for name in ("Red", "Green", "Blue"):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [3, 0, 16])
        data = np.array([0, 200, 65535], "<u2").tobytes()
        setattr(ds, f"{name}PaletteColorLookupTableData", data)
    file = DicomFile(write_dicom(tmp_path / "a", ds), MAX_FILE_BYTES)
    assert file.plane(0).pixels.max() == pytest.approx(200 / 257)
    assert file.plane(1).pixels.max() == 255


@pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="needs DCMTK to write JPEG")
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("process", "number"), [("+ee", 51), ("+es", 53), ("+ep", 55), ("+el", 57)]
)
def test_processes_of_jpeg_that_only_simpleitk_reads(tmp_path, process, number, photometric):
    """As DCMTK's own decoder has them, and never inverted while they are decoded."""
    y, x = np.mgrid[:64, :48]
    film = (y * 40 + x * 20).astype(np.uint16)
    tags = {"PhotometricInterpretation": photometric, **TWELVE}
    dicom_of(film, tmp_path / "native.dcm", **tags)
    path, back = tmp_path / "packed" / "film.dcm", tmp_path / "back.dcm"
    path.parent.mkdir()
    subprocess.run(["dcmcjpeg", process, tmp_path / "native.dcm", path], check=True)
    subprocess.run(["dcmdjpeg", path, back], check=True)
    assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == f"1.2.840.10008.1.2.4.{number}"
    found = only(index([path.parent]).studies[0].series[0].stacks[0])
    assert np.array_equal(found.pixels, pydicom.dcmread(back).pixel_array)
    assert np.abs(found.pixels - film).max() <= (0 if number == 57 else 40)
    assert found.inverted == (photometric == "MONOCHROME1")


def test_hierarchical_jpeg_is_refused_by_name(tmp_path):
    film = FILM.astype(np.uint8)
    found = only(packed(tmp_path / "a", film, b"\xff\xd8\xff\xd9", "1.2.840.10008.1.2.4.59"))
    assert found.reason == Reason.UNSUPPORTED
    assert "59" in str(found) or "JPEG" in str(found)


@pytest.mark.parametrize("columns", [5, 7, 8])
def test_frames_of_single_bits_start_and_end_within_bytes(tmp_path, columns):
    bits = RNG.integers(0, 2, (11, 9, columns)).astype(np.uint8)
    packed = np.packbits(bits, bitorder="little").tobytes()
    ds = header(bits[0], NumberOfFrames=11, PixelData=packed + bytes(len(packed) % 2))
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
    stack = stack_of([write_dicom(tmp_path / "bits", ds)] * 11, 9, columns)
    opened = DicomFile(stack.frames[0].file, MAX_FILE_BYTES)
    for number, frame in enumerate(bits):
        assert np.array_equal(opened.plane(number).pixels, frame)
