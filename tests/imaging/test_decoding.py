"""Decoded pixels as GDCM (through SimpleITK) and pydicom's own functions have them."""

import base64
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from medscan.archive import Reason, index
from medscan.decoding.dicom import DicomFile
from medscan.imaging import Window, apply_window, read_planes

from .make import MAX_FILE_BYTES, dicom_of, header, stack_of, write_dicom

RNG = np.random.default_rng(7)
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
FILES = {
    "explicit little endian": "CT_small",
    "explicit big endian, RGB": "ExplVR_BigEnd",
    "implicit little endian": "MR_small_implicit",
    "deflated": "image_dfl",
    "RLE": "MR_small_RLE",
    "RLE, RGB": "SC_rgb_rle",
    "JPEG baseline, YBR_FULL": "SC_rgb_jpeg_dcmtk",
    "JPEG baseline, RGB": "SC_rgb_dcmtk_+eb+cr",
    "JPEG baseline, YBR_FULL_422": "SC_rgb_dcmtk_+eb+cy+s2",
    "JPEG baseline, 4:1:1": "SC_rgb_dcmtk_+eb+cy+s4",
    "JPEG baseline, odd size": "SC_rgb_small_odd_jpeg",
    "JPEG baseline, RGB untransformed": "SC_jpeg_no_color_transform",
    "JPEG extended, 12 bits": "JPGExtended",
    "JPEG lossless": "SC_rgb_jpeg_gdcm",
    "JPEG-LS lossless": "MR_small_jpeg_ls_lossless",
    "JPEG-LS near-lossless, 8 bits": "JPEGLSNearLossless_08",
    "JPEG-LS near-lossless, 16 bits": "JPEGLSNearLossless_16",
    "JPEG-LS near-lossless, RGB": "SC_rgb_jls_lossy_sample",
    "JPEG 2000 lossless": "MR_small_jp2klossless",
    "JPEG 2000 lossless, YBR_RCT": "GDCMJ2K_TextGBR",
    "JPEG 2000 lossy": "JPEG2000",
    "JPEG 2000 lossy, RGB": "SC_rgb_gdcm_KY",
    "native YBR_FULL_422": "SC_ybr_full_422_uncompressed",
    "palette of 16 bits": "examples_palette",
    "overlay": "examples_overlay",
    "padding": "MR_small_padded",
    "odd size": "SC_rgb_small_odd",
}


def gdcm(path, shape):
    image = SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO")
    return SimpleITK.GetArrayFromImage(image).reshape(-1, *shape)[0].astype(np.float64)


def only(stack):
    (found,) = read_planes(stack, stack.frames, MAX_FILE_BYTES)
    return found


@pytest.mark.parametrize("kind", FILES)
def test_shipped_files_decode_as_gdcm_decodes_them(kind, capfd):
    path = SHIPPED / f"{FILES[kind]}.dcm"
    if not path.exists():
        pytest.skip("not shipped with this pydicom")
    stack = index([path]).studies[0].series[0].stacks[0]
    (found,) = read_planes(stack, stack.frames[:1], MAX_FILE_BYTES)
    # A palette's white of 65280 is 254 or 255 of 8 bits.
    most = 1.0 if kind.startswith("palette") else 1e-3
    assert np.abs(gdcm(path, found.pixels.shape) - found.pixels).max() <= most


DEPTHS = [
    (syntax, allocated, bits, signed)
    for syntax in (ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless)
    for allocated, bits in ((8, 8), (16, 10), (16, 12), (16, 16), (32, 32))
    for signed in (False, True)
    # Forms that PS3.5 section 8.2 has not.
    if syntax == ExplicitVRLittleEndian
    or (allocated < 32 and not (signed and syntax == JPEGLSLossless))
]


@pytest.mark.parametrize(("syntax", "allocated", "bits", "signed"), DEPTHS)
def test_depths_decode_as_gdcm_decodes_them(tmp_path, syntax, allocated, bits, signed):
    dtype = np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    pixels = RNG.integers(*ends, (64, 48)).astype(dtype)
    tags = {"RescaleSlope": "0.5", "RescaleIntercept": "-7"} if allocated <= 16 else {}
    ds = header(pixels, BitsStored=bits, HighBit=bits - 1, **tags)
    if syntax != ExplicitVRLittleEndian:
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.compress(syntax, generate_instance_uid=False)
    file = write_dicom(tmp_path / "a", ds, syntax)
    found = only(stack_of([file], 64, 48)).pixels
    assert np.array_equal(found, (pixels * 0.5 - 7 if tags else pixels).astype(np.float32))
    assert np.abs(gdcm(file.full, (64, 48)) - found).max() <= 1e-6 * np.abs(found).max()


HTJ2K = base64.b85decode(
    "|4;u>04YEK0000G0000C00000000000000G0000C0000000000009pH0sl|{2mk^A000aBQUDA9000310|W#"
    ">0smY84Iqe+keHB=kcfzo|6~9c00B>MWo}4RN-|3zc4cyNX>V>IF#nJM3IG5A006lF0soW004o4f0ipVj_Cf"
    "Cg!!!WE02NRG1keBiAl>PX&Jgzjg0ukl{s00r03rau02ZVG0aXA1PWSzO-*E@N3fJ#DJpK&+V~DZ00K%!8*T"
    "6A>zP11W`hZPq<p96{F2Vo-Xutpx0Ns0ccXxMp=s*^2_uk#z-Q68Ju!Y;bcXxMpcZUvi@%{j3YxS4T*Xu4JE"
    "NU^o0LDtE)T;H0`UpUK_8|f6x&Z$DLjeET"
)
"""12 rows and 16 columns of 16 bits, `100 y + 15 x x + x y`, by OpenHTJ2K 0.4, lossless."""


@pytest.mark.parametrize("number", [201, 202, 203])
def test_high_throughput_jpeg_2000(tmp_path, number):
    y, x = np.mgrid[:12, :16]
    pixels = (100 * y + 15 * x * x + x * y).astype(np.uint16)
    ds = header(pixels, PixelData=encapsulate([HTJ2K]))
    ds["PixelData"].VR = "OB"
    file = write_dicom(tmp_path / "a", ds, f"1.2.840.10008.1.2.4.{number}")
    assert np.array_equal(only(stack_of([file], 12, 16)).pixels, pixels)
    assert np.array_equal(gdcm(file.full, (12, 16)), pixels)


def test_overlays_in_unused_bits_and_in_tags_are_ignored(tmp_path):
    pixels = RNG.integers(0, 4096, (8, 16)).astype(np.uint16)
    drawn = RNG.integers(0, 2, (8, 16)).astype(np.uint16)
    embedded = header(pixels | drawn << 15, BitsStored=12, HighBit=11)
    for element, vr, value in (
        (0x0010, "US", 8),
        (0x0011, "US", 16),
        (0x0040, "CS", "G"),
        (0x0050, "SS", [1, 1]),
        (0x0100, "US", 16),
        (0x0102, "US", 15),
    ):
        embedded.add_new((0x6000, element), vr, value)
    file = write_dicom(tmp_path / "embedded", embedded)
    assert np.array_equal(only(stack_of([file], 8, 16)).pixels, pixels)
    assert np.array_equal(gdcm(file.full, (8, 16)), pixels)
    apart = header(pixels)
    apart.add_new((0x6000, 0x3000), "OB", np.packbits(drawn.astype(bool)).tobytes())
    file = write_dicom(tmp_path / "apart", apart)
    assert np.array_equal(only(stack_of([file], 8, 16)).pixels, pixels)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("shape", [(4, 6), (3, 5)])
def test_twelve_bits_in_three_bytes_for_two(tmp_path, signed, shape):
    low = -2048 if signed else 0
    pixels = RNG.integers(low, low + 4096, (2, *shape))
    bits = (pixels.reshape(-1, 1) >> np.arange(12) & 1).astype(np.uint8)
    packed = np.packbits(bits, bitorder="little").tobytes()
    ds = header(pixels[0].astype(np.uint16), BitsAllocated=12, BitsStored=12, HighBit=11)
    ds.NumberOfFrames, ds.PixelRepresentation = 2, int(signed)
    ds.PixelData = packed + b"\0" * (len(packed) % 2)
    file = DicomFile(write_dicom(tmp_path / "a", ds), MAX_FILE_BYTES)
    for n, wanted in enumerate(pixels):
        assert np.array_equal(file.plane(n).pixels, wanted)


def test_packed_depths_that_nobody_has_are_refused_by_name(tmp_path):
    ds = header(np.zeros((4, 4), np.uint16), BitsAllocated=10, BitsStored=10, HighBit=9)
    found = only(stack_of([write_dicom(tmp_path / "a", ds)], 4, 4))
    assert found.reason == Reason.UNSUPPORTED
    assert "10 bits" in str(found)


def table(first, bits, entries):
    lut = Dataset()
    lut.LUTDescriptor = [len(entries), first, bits]
    lut.LUTData = np.array(entries, "<u2").tobytes()
    return Sequence([lut])


@pytest.mark.parametrize("inverted", [False, True])
def test_modality_lut_then_voi_lut_then_inversion(tmp_path, inverted):
    pixels = np.arange(16, dtype=np.uint16).reshape(4, 4)
    modality = table(2, 16, [900, 30, 500, 70, 650, 20, 400, 100])
    modality[0].ModalityLUTType = "US"
    ds = header(
        pixels,
        ModalityLUTSequence=modality,
        VOILUTSequence=table(20, 12, (RNG.integers(0, 4096, 800)).tolist()),
        PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
    )
    file = write_dicom(tmp_path / "a", ds)
    shown = apply_window(only(stack_of([file], 4, 4)), Window(0, 1, voi=True))
    read = pydicom.dcmread(file.full)
    wanted = apply_voi_lut(apply_modality_lut(read.pixel_array, read), read) / 4095
    np.testing.assert_allclose(shown, 1 - wanted if inverted else wanted, atol=1e-5)


def test_rescale_then_window_then_inversion(tmp_path):
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    tags = {"RescaleSlope": "3", "RescaleIntercept": "-50", "WindowCenter": "40"}
    tags |= {"WindowWidth": "90", "PhotometricInterpretation": "MONOCHROME1"}
    stack = dicom_of(pixels, tmp_path / "a", **tags)
    shown = apply_window(only(stack), Window(0, 1, voi=True))
    read = pydicom.dcmread(tmp_path / "a")
    values = apply_windowing(apply_modality_lut(read.pixel_array, read), read)
    wanted = (values - values.min()) / np.ptp(values)
    np.testing.assert_allclose(shown, 1 - wanted, atol=1e-5)


@pytest.mark.parametrize("segmented", [False, True])
def test_palettes_show_their_colours(tmp_path, segmented):
    pixels = RNG.integers(0, 256, (8, 8)).astype(np.uint8)
    ds = header(pixels, PhotometricInterpretation="PALETTE COLOR")
    ramps = [np.linspace(n * 9000, 65535, 256) for n in range(3)]
    for name, ramp in zip(("Red", "Green", "Blue"), ramps, strict=True):
        entries = ramp.astype("<u2")
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        # A discrete segment of one entry, then a linear one to the last: PS3.3 C.7.9.2.
        data = np.array([0, 1, entries[0], 1, 255, entries[-1]], "<u2") if segmented else entries
        prefix = "Segmented" if segmented else ""
        setattr(ds, f"{prefix}{name}PaletteColorLookupTableData", data.tobytes())
    file = write_dicom(tmp_path / "a", ds)
    found = only(stack_of([file], 8, 8)).pixels
    assert np.abs(np.stack(ramps, axis=-1)[pixels] / 257 - found).max() < 0.02
    if not segmented:  # which GDCM does not read
        assert np.abs(gdcm(file.full, (8, 8, 3)) - found).max() <= 1.0


@pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="needs DCMTK to write lossless JPEG")
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("bits", "process"), [(8, "+e1"), (12, "+e1"), (12, "+el"), (16, "+e1")])
def test_a_film_in_lossless_jpeg_is_not_its_negative(tmp_path, photometric, bits, process):
    """GDCM inverts MONOCHROME1 while it reads; inverting is the window's (PS3.3 C.7.6.3.1.2)."""
    film = RNG.integers(0, 1 << bits, (20, 24)).astype("u1" if bits == 8 else "u2")
    tags = {"PhotometricInterpretation": photometric, "BitsStored": bits, "HighBit": bits - 1}
    native = dicom_of(film, tmp_path / "native.dcm", **tags)
    packed = tmp_path / "packed" / "film.dcm"
    packed.parent.mkdir()
    subprocess.run(["dcmcjpeg", process, str(tmp_path / "native.dcm"), str(packed)], check=True)
    syntax = pydicom.dcmread(packed).file_meta.TransferSyntaxUID
    assert syntax in ("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.57")
    found = only(index([packed]).studies[0].series[0].stacks[0])
    assert np.array_equal(found.pixels, film)
    assert found.inverted == only(native).inverted == (photometric == "MONOCHROME1")
