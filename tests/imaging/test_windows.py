import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medscan.archive.types import Kind
from medscan.errors import FileError, UsageError
from medscan.imaging import (
    PixelPlane,
    Voi,
    Window,
    apply_window,
    measure,
    parse_rule,
    read_planes,
)
from medscan.imaging.window import even_indices

from .make import MAX_FILE_BYTES, dicom_of, header, stack_of, write_dicom

RAMP = np.linspace(-50, 150, 401, dtype=np.float32).reshape(1, -1)


@pytest.mark.parametrize("rule", ["auto", "full", "voi", "percentile:1,99.5", "window:-160,240"])
def test_rules(rule):
    assert parse_rule(rule).name == rule.split(":")[0]


@pytest.mark.parametrize(
    "rule",
    ["", "brain", "auto:1", "window", "window:5", "window:5,5", "window:9,1", "window:nan,1",
     "window:-inf,1", "percentile:-1,50", "percentile:1,101", "percentile:a,b", "window:1,2,3"],
)  # fmt: skip
def test_bad_rules_are_refused_in_a_line(rule):
    with pytest.raises(UsageError) as caught:
        parse_rule(rule)
    assert "\n" not in str(caught.value)


@given(st.integers(1, 2000), st.sampled_from([2, 24, 512]))
def test_evenly_is_symmetric(count, most):
    picked = even_indices(count, most)
    assert len(picked) == min(count, most) == len(set(picked))
    assert picked[0] == 0
    assert picked[-1] == count - 1
    assert np.array_equal(count - 1 - picked[::-1], picked)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(40, 100), (0, 1), (10.5, 3)])
def test_window_functions_equal_pydicom(function, center, width):
    ds = Dataset()
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = center, width, function
    ds.BitsStored, ds.PixelRepresentation, ds.PhotometricInterpretation = 16, 0, "MONOCHROME2"
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    expected = apply_windowing(RAMP.astype(np.float64), ds) / 65535.0
    plane = PixelPlane(RAMP, voi=Voi(center, width, function))
    assert np.abs(apply_window(plane, Window(0, 1, voi=True)) - expected).max() < 1e-6


def test_monochrome1_is_inverted_after_the_voi_lut():
    table = np.array([0.0, 0.25, 1.0], dtype=np.float32)
    values = np.array([[9.0, 10.0, 11.0, 12.0, 13.0]], dtype=np.float32)
    plane = PixelPlane(values, inverted=True, voi=Voi(table=table, first=10))
    assert apply_window(plane, Window(0, 1, voi=True)).tolist() == [[1.0, 1.0, 0.75, 0.0, 0.0]]
    assert apply_window(plane, Window(9, 13)).tolist() == [[1.0, 0.75, 0.5, 0.25, 0.0]]


def test_flat_windows_and_colour():
    flat = PixelPlane(np.full((2, 2), 5.0, dtype=np.float32))
    assert not apply_window(flat, Window(5, 5)).any()
    rgb = PixelPlane(np.full((2, 2, 3), 255.0, dtype=np.float32), white=255.0)
    assert (apply_window(rgb, Window(-160, 240)) == 1).all()


def series(folder, volume, **tags):
    files = [
        write_dicom(folder / f"{i}.dcm", header(frame, **tags)) for i, frame in enumerate(volume)
    ]
    return stack_of(files, *volume.shape[1:])


def test_measured_the_same_from_either_end(tmp_path):
    volume = np.random.default_rng(3).integers(0, 4000, (31, 6, 8)).astype(np.uint16)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    forth = measure(series(tmp_path / "a", volume), "auto", "MR", MAX_FILE_BYTES)
    back = measure(series(tmp_path / "b", volume[::-1, ::-1]), "auto", "", MAX_FILE_BYTES)
    assert forth == back
    assert not forth.voi


def test_percentiles_of_a_small_volume(tmp_path):
    volume = np.arange(1001, dtype=np.uint16).reshape(1, 7, 143)
    stack = series(tmp_path, volume)
    assert measure(stack, "percentile:10,90", "MR", MAX_FILE_BYTES) == Window(100.0, 900.0)
    assert measure(stack, "full", "MR", MAX_FILE_BYTES) == Window(0.0, 1000.0)
    assert measure(stack, "window:-5,5", "MR", MAX_FILE_BYTES) == Window(-5.0, 5.0)


def test_auto_by_modality(tmp_path):
    pixels = np.arange(1000, dtype=np.uint16).reshape(20, 50)
    plain = dicom_of(pixels, tmp_path / "plain")
    shown = dicom_of(pixels, tmp_path / "voi", WindowCenter="40", WindowWidth="401")
    eight = dicom_of(pixels.astype(np.uint8), tmp_path / "eight")
    assert measure(plain, "auto", "CT", MAX_FILE_BYTES) == Window(-160.0, 240.0)
    assert measure(shown, "auto", "CT", MAX_FILE_BYTES) == Window(
        -160.0, 240.0, header=(-160.5, 239.5)
    )
    assert measure(shown, "auto", "DX", MAX_FILE_BYTES).voi
    assert measure(eight, "auto", "US", MAX_FILE_BYTES) == Window(0.0, 255.0, voi=True)
    assert measure(eight, "auto", "MR", MAX_FILE_BYTES).high < 255.0
    colour = dicom_of(np.zeros((4, 4, 3), dtype=np.uint8), tmp_path / "colour")
    assert measure(colour, "percentile:1,99", "XC", MAX_FILE_BYTES) == Window(0.0, 255.0)


def test_voi_lut_sequence_is_read_and_normalised(tmp_path):
    lut = Dataset()
    lut.LUTDescriptor = [3, 0, 12]
    lut.LUTData = np.array([0, 1024, 4095], "<u2").tobytes()
    pixels = np.array([[0, 1, 2, 3]], dtype=np.uint16)
    stack = dicom_of(pixels, tmp_path / "a", VOILUTSequence=Sequence([lut]))
    (plane,) = read_planes(stack, stack.frames, MAX_FILE_BYTES)
    grey = apply_window(plane, measure(stack, "voi", "DX", MAX_FILE_BYTES))
    assert np.allclose(grey, [[0, 1024 / 4095, 1, 1]])


@pytest.mark.parametrize("tags", [{"WindowCenter": "5", "WindowWidth": "0"}, {"WindowCenter": "5"}])
def test_unusable_windows_are_ignored(tmp_path, tags):
    stack = dicom_of(np.zeros((2, 2), dtype=np.uint16), tmp_path / "a", **tags)
    (plane,) = read_planes(stack, stack.frames, MAX_FILE_BYTES)
    assert plane.voi is None


def test_nothing_readable_raises_the_first_error(tmp_path):
    stack = dicom_of(np.zeros((2, 2), dtype=np.uint16), tmp_path / "a")
    (tmp_path / "a").write_bytes(b"nothing")
    with pytest.raises(FileError):
        measure(stack, "full", "MR", MAX_FILE_BYTES)
    assert stack.kind is Kind.DICOM


def voi_lut(first, entries, vr="US", bits=16):
    lut = Dataset()
    lut.add_new("LUTDescriptor", vr, [len(entries), first, bits])
    lut.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return Sequence([lut])


def shown_by(stack):
    (plane,) = read_planes(stack, stack.frames, MAX_FILE_BYTES)
    return apply_window(plane, Window(0, 1, voi=True))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("signed", [False, True])
def test_a_voi_lut_may_start_below_zero(tmp_path, syntax, signed):
    """PS3.3 C.11.2.1.1: its first value has a sign where the rescaled values have one.

    Implicit VR does not tell, and writers put -2 as 65534 into US.
    """
    pixels = np.arange(4, dtype=np.int16 if signed else np.uint16).reshape(2, 2)
    tags = {"RescaleSlope": "1", "RescaleIntercept": "-2"}
    ds = header(pixels, **tags, VOILUTSequence=voi_lut(65534, [10, 20, 30, 65535]))
    stack = stack_of([write_dicom(tmp_path / "a", ds, syntax)], 2, 2)
    assert np.allclose(shown_by(stack) * 65535, [[10, 20], [30, 65535]])


def test_a_voi_lut_of_values_without_a_sign_may_start_high(tmp_path):
    pixels = np.array([[39999, 40000], [40001, 40002]], np.uint16)
    ds = header(pixels, VOILUTSequence=voi_lut(40000, [0, 100, 65535]))
    stack = stack_of([write_dicom(tmp_path / "a", ds)], 2, 2)
    assert np.allclose(shown_by(stack) * 65535, [[0, 0], [100, 65535]])


@pytest.mark.parametrize(("claimed", "used"), [(16, 12), (16, 8), (12, 16), (16, 16)])
def test_white_is_the_highest_value_of_the_bits_that_a_lut_uses(tmp_path, claimed, used):
    white = 2**used - 1
    pixels = np.arange(4, dtype=np.uint16).reshape(2, 2)
    ds = header(pixels, VOILUTSequence=voi_lut(0, [0, white // 3, white // 2, white], bits=claimed))
    stack = stack_of([write_dicom(tmp_path / "a", ds)], 2, 2)
    assert np.allclose(shown_by(stack), [[0, 1 / 3], [1 / 2, 1]], atol=0.01)
