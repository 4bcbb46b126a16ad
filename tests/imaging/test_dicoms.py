import gzip
import io
import warnings

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medscan.archive.types import Frame
from medscan.errors import CorruptError, FileError, TooLargeError, TruncatedError, UnsupportedError
from medscan.imaging import read_planes

from .make import MAX_FILE_BYTES, archived, dicom_of, header, stack_of, write_dicom

RNG = np.random.default_rng(0)


def item(**tags):
    ds = Dataset()
    for name, value in tags.items():
        setattr(ds, name, value)
    return ds


def only(stack, max_file_bytes=MAX_FILE_BYTES):
    (found,) = read_planes(stack, stack.frames, max_file_bytes)
    return found


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
def test_depth_sign_and_rescale(tmp_path, dtype):
    info = np.iinfo(dtype)
    pixels = RNG.integers(info.min // 4, info.max // 4, (5, 7)).astype(dtype)
    stack = dicom_of(pixels, tmp_path / "a", RescaleSlope="2.5", RescaleIntercept="-10")
    plane = only(stack)
    assert plane.pixels.dtype == np.float32
    assert np.array_equal(plane.pixels, (pixels * 2.5 - 10.0).astype(np.float32))


def test_one_bit(tmp_path):
    bits = RNG.integers(0, 2, (6, 5)).astype(np.uint8)
    packed = np.packbits(bits, bitorder="little").tobytes()
    ds = header(bits, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed)
    plane = only(stack_of([write_dicom(tmp_path / "a", ds)], 6, 5))
    assert np.array_equal(plane.pixels, bits)
    assert plane.white == 1.0


@pytest.mark.parametrize(
    ("dtype", "tag"), [("f4", "FloatPixelData"), ("f8", "DoubleFloatPixelData")]
)
def test_float_pixel_data(tmp_path, dtype, tag):
    values = RNG.normal(size=(4, 6)).astype(dtype)
    values[0, 0] = np.nan
    ds = header(np.zeros((4, 6), dtype=np.uint16))
    del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
    ds.BitsAllocated = values.dtype.itemsize * 8
    setattr(ds, tag, values.tobytes())
    plane = only(stack_of([write_dicom(tmp_path / "a", ds)], 4, 6))
    assert plane.pixels[0, 0] == plane.pixels.min()
    assert np.array_equal(plane.pixels.ravel()[1:], values.astype(np.float32).ravel()[1:])


@pytest.mark.parametrize("shared", [True, False])
def test_enhanced_frames_carry_their_own_rescale_and_window(tmp_path, shared):
    pixels = RNG.integers(0, 99, (3, 4, 5)).astype(np.uint16)
    groups = [
        item(
            PixelValueTransformationSequence=[item(RescaleSlope=str(k + 1), RescaleIntercept="0")],
            FrameVOILUTSequence=[item(WindowCenter=str(k), WindowWidth="10")],
        )
        for k in range(3)
    ]
    ds = header(pixels[0], NumberOfFrames=3, PixelData=pixels.tobytes())
    if shared:
        ds.SharedFunctionalGroupsSequence = Sequence(groups[2:])
    else:
        ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    file = write_dicom(tmp_path / "a", ds)
    stack = stack_of([file], 4, 5)
    order = [2, 0, 1]
    found = list(read_planes(stack, [Frame(file, k) for k in order], MAX_FILE_BYTES))
    for k, plane in zip(order, found, strict=True):
        slope = 3 if shared else k + 1
        assert np.array_equal(plane.pixels, pixels[k] * slope)
        assert plane.voi.center == slope - 1


def test_modality_lut(tmp_path):
    lut = item(
        LUTDescriptor=[4, 10, 16],
        ModalityLUTType="US",
        LUTData=np.array([5, 50, 500, 5000], "<u2").tobytes(),
    )
    pixels = np.array([[0, 10, 11], [12, 13, 99]], dtype=np.uint16)
    plane = only(dicom_of(pixels, tmp_path / "a", ModalityLUTSequence=Sequence([lut])))
    assert plane.pixels.tolist() == [[5, 5, 50], [500, 5000, 5000]]


@pytest.mark.parametrize("inverted", [False, True])
def test_padding_is_shown_black(tmp_path, inverted):
    pixels = np.array([[-2000, 100, 300], [-1990, -1995, 200]], dtype=np.int16)
    tags = {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}
    tags |= {"RescaleSlope": "2", "RescaleIntercept": "1"}
    if inverted:
        tags["PhotometricInterpretation"] = "MONOCHROME1"
    plane = only(dicom_of(pixels, tmp_path / "a", **tags))
    black = 601 if inverted else 201
    assert plane.pixels.tolist() == [[black, 201, 601], [black, black, 401]]
    assert plane.inverted is inverted


@pytest.mark.parametrize("planar", [0, 1])
def test_rgb_and_ybr(tmp_path, planar):
    rgb = RNG.integers(0, 256, (4, 6, 3)).astype(np.uint8)
    stored = rgb.transpose(2, 0, 1) if planar else rgb
    ds = header(rgb, PlanarConfiguration=planar, PixelData=stored.tobytes())
    plane = only(stack_of([write_dicom(tmp_path / "a", ds)], 4, 6))
    assert np.array_equal(plane.pixels, rgb)
    grey = np.full((4, 6, 3), 128, dtype=np.uint8)
    grey[..., 0] = 77
    plane = only(dicom_of(grey, tmp_path / "b", PhotometricInterpretation="YBR_FULL"))
    assert (plane.pixels == 77).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_palette(tmp_path, bits):
    pixels = np.array([[0, 1], [2, 9]], dtype=np.uint8)
    tables = np.array([[0, 10, 255, 40], [1, 11, 255, 41], [2, 12, 255, 42]])
    scale = 257 if bits == 16 else 1
    tags = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, bits]
        data = (table * scale).astype(f"<u{bits // 8}").tobytes()
        tags[f"{name}PaletteColorLookupTableData"] = data
    plane = only(dicom_of(pixels, tmp_path / "a", **tags))
    assert plane.colour
    assert np.allclose(plane.pixels, tables.T[[[0, 1], [2, 3]]], atol=1e-3)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed(tmp_path, syntax):
    pixels = RNG.integers(0, 4096, (64, 48)).astype(np.uint16)
    ds = header(pixels)
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.compress(syntax, generate_instance_uid=False)
    assert np.array_equal(
        only(stack_of([write_dicom(tmp_path / "a", ds, syntax)], 64, 48)).pixels, pixels
    )


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.110", "JPEG XL Lossless"),
        ("1.2.840.10008.1.2.4.111", "JPEG XL JPEG Recompression"),
        ("1.2.840.10008.1.2.4.112", "JPEG XL"),
        ("1.2.840.10008.1.2.8.1", "Deflated Image Frame Compression"),
        ("1.2.840.10008.1.2.4.999", "1.2.840.10008.1.2.4.999"),
        ("1.2.DOE^JANE", "of an invalid UID"),
    ],
)
def test_a_transfer_syntax_is_refused_by_its_name(tmp_path, syntax, name):
    ds = header(RNG.integers(0, 9, (4, 4)).astype(np.uint16))
    # Encapsulated pixels are written under a syntax that pydicom knows, of as many bytes.
    known = "1.2.840.10008.1.2.4.90"
    ds.PixelData = encapsulate([bytes(20)])
    file = write_dicom(tmp_path / "a", ds, known)
    content = (tmp_path / "a").read_bytes()
    start = content.index(known.encode()) - 2
    length = int.from_bytes(content[start : start + 2], "little")
    text = syntax.encode() + b"\0" * (len(syntax) % 2)
    group = int.from_bytes(content[140:144], "little") + len(text) - length
    meta = content[:140] + group.to_bytes(4, "little") + content[144:start]
    rest = len(text).to_bytes(2, "little") + text + content[start + 2 + length :]
    (tmp_path / "a").write_bytes(meta + rest)
    found = only(stack_of([archived(tmp_path / "a")], 4, 4))
    assert isinstance(found, UnsupportedError)
    assert str(found) == f"transfer syntax {name}"
    assert file.path == "a"


def test_deflated_and_gzipped_within_the_limit(tmp_path):
    pixels = np.zeros((64, 64), dtype=np.uint16)
    stack = stack_of(
        [write_dicom(tmp_path / "a", header(pixels), DeflatedExplicitVRLittleEndian)], 64, 64
    )
    assert not only(stack).pixels.any()
    assert isinstance(only(stack, 5000), TooLargeError)
    dicom_of(pixels, tmp_path / "b")
    (tmp_path / "c").write_bytes(gzip.compress((tmp_path / "b").read_bytes()))
    stack = stack_of([archived(tmp_path / "c")], 64, 64)
    assert not only(stack).pixels.any()
    assert isinstance(only(stack, 5000), TooLargeError)


def test_without_preamble_and_meta(tmp_path):
    pixels = RNG.integers(0, 99, (4, 5)).astype(np.uint16)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, header(pixels), implicit_vr=True, little_endian=True)
    (tmp_path / "a").write_bytes(buffer.getvalue())
    assert np.array_equal(only(stack_of([archived(tmp_path / "a")], 4, 5)).pixels, pixels)


def encapsulated(tmp_path, data, syntax, **tags):
    ds = header(np.zeros((8, 8), dtype=np.uint8), **tags)
    ds.PixelData = encapsulate([data])
    ds["PixelData"].is_undefined_length = True
    return stack_of([write_dicom(tmp_path / "a", ds, syntax)], 8, 8)


def test_what_is_broken_says_why(tmp_path, capfd):
    pixels = RNG.integers(0, 99, (8, 8)).astype(np.uint16)
    short = dicom_of(pixels, tmp_path / "short", PixelData=pixels.tobytes()[:-10])
    assert isinstance(only(short), TruncatedError)
    frames = dicom_of(pixels, tmp_path / "frames", NumberOfFrames=10**6)
    assert isinstance(only(frames), TruncatedError)
    huge = dicom_of(pixels, tmp_path / "huge", Rows=65535, Columns=65535)
    assert isinstance(only(huge), TooLargeError)
    none = header(pixels)
    del none.PixelData
    assert isinstance(only(stack_of([write_dicom(tmp_path / "n", none)], 8, 8)), CorruptError)
    odd = dicom_of(pixels, tmp_path / "odd", BitsAllocated=24)
    assert isinstance(only(odd), UnsupportedError)
    video = "1.2.840.10008.1.2.4.100"
    assert isinstance(only(encapsulated(tmp_path, b"\0" * 20, video)), UnsupportedError)
    for syntax in (JPEG2000Lossless, RLELossless, JPEGLSLossless):
        assert isinstance(only(encapsulated(tmp_path, b"\1\2\3\4", syntax)), CorruptError)
    for syntax in (JPEGBaseline8Bit, JPEGLosslessSV1):
        assert isinstance(only(encapsulated(tmp_path, b"\1\2\3\4", syntax)), FileError)
    assert capfd.readouterr().err == ""


def test_size_unlike_the_index_is_corrupt(tmp_path):
    stack = dicom_of(np.zeros((8, 8), dtype=np.uint16), tmp_path / "a")
    other = stack_of([f.file for f in stack.frames], 9, 8)
    assert isinstance(only(other), CorruptError)
    beyond = list(read_planes(stack, [Frame(stack.frames[0].file, 3)], MAX_FILE_BYTES))
    assert isinstance(beyond[0], CorruptError)


def test_a_bad_file_costs_that_file(tmp_path):
    good = dicom_of(np.ones((4, 4), dtype=np.uint16), tmp_path / "good").frames[0]
    (tmp_path / "bad").write_bytes(b"\0" * 200)
    bad = Frame(archived(tmp_path / "bad"))
    stack = stack_of([good.file, bad.file], 4, 4)
    found = list(read_planes(stack, [good, bad, good], MAX_FILE_BYTES))
    assert [isinstance(f, FileError) for f in found] == [False, True, False]
    assert "Patient" not in str(found[1])


@given(data=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_mutated_files_raise_nothing_else(tmp_path, data):
    path = tmp_path / "m"
    stack = dicom_of(
        np.arange(64, dtype=np.uint16).reshape(8, 8), path, RescaleSlope="2", WindowCenter="5"
    )
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(132, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(150, len(raw)))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = only(stack, 2**20)
    assert isinstance(found, FileError) or found.pixels.shape == (8, 8)
