"""Contrast is never background: what a header says of showing pixels may be wrong."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medscan.imaging import Window, measure, read_planes, render

from .make import MAX_FILE_BYTES, dicom_of, header, stack_of, write_dicom

RNG = np.random.default_rng(3)
Y, X = np.mgrid[:64, :64]
FILM = (1800 + 900 * np.sin(X / 8) + 500 * np.cos(Y / 10) + RNG.normal(0, 40, X.shape)).clip(
    0, 4095
)
FILM = FILM.astype(np.uint16)
TWELVE = {"BitsStored": 12, "HighBit": 11}


def drawn(stack, modality, rule="auto"):
    window = measure(stack, rule, modality, MAX_FILE_BYTES)
    return render(stack, stack.frames, 64, window, MAX_FILE_BYTES)


def lut(first, entries, bits=16):
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTData = np.array(entries, "<u2").tobytes()
    item.ModalityLUTType = "US"
    return Sequence([item])


FLAT = {
    "window above all pixels": {"WindowCenter": "32768", "WindowWidth": "65536"},
    "window below most pixels": {"WindowCenter": "128", "WindowWidth": "256"},
    "window below zero": {"WindowCenter": "-500", "WindowWidth": "100"},
    "window of a single step": {"WindowCenter": "300", "WindowWidth": "1"},
    "sigmoid above all pixels": {
        "WindowCenter": "60000",
        "WindowWidth": "200",
        "VOILUTFunction": "SIGMOID",
    },
    "VOI LUT that is constant": {"VOILUTSequence": lut(0, [7] * 4096)},
    "VOI LUT that starts above all pixels": {"VOILUTSequence": lut(30000, range(4096))},
    "Modality LUT that is constant": {"ModalityLUTSequence": lut(0, [7] * 4096)},
    "Modality LUT that starts above all pixels": {"ModalityLUTSequence": lut(30000, range(4096))},
    "slope out of range": {"RescaleSlope": "1e300", "RescaleIntercept": "0"},
    "slope out of range of all but zero": {"RescaleSlope": "1e300", "RescaleIntercept": "-1e303"},
    "intercept beyond the precision": {"RescaleSlope": "1", "RescaleIntercept": "1e15"},
    "padding over all values": {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4095},
}


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("kind", FLAT)
def test_a_header_that_draws_a_film_flat_is_not_used(tmp_path, kind, photometric):
    """Such films exist: 18,888 grey levels beside a window of 2725/5310, and worse."""
    tags = TWELVE | {"PhotometricInterpretation": photometric}
    (wanted,) = drawn(dicom_of(FILM, tmp_path / "plain", **tags), "CR")
    (found,) = drawn(dicom_of(FILM, tmp_path / "a", **tags, **FLAT[kind]), "CR")
    assert not wanted.header_unused
    assert found.header_unused
    assert not found.background
    np.testing.assert_allclose(found.image, wanted.image, atol=1e-4)


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowCenter": "2048", "WindowWidth": "4096"},
        {"WindowCenter": "1500", "WindowWidth": "300"},
        {"VOILUTSequence": lut(0, np.linspace(0, 65535, 4096))},
        {"PixelPaddingValue": 0},
    ],
)
def test_a_header_that_shows_the_film_is_used(tmp_path, tags):
    (found,) = drawn(dicom_of(FILM, tmp_path / "a", **TWELVE, **tags), "CR")
    assert not found.header_unused
    assert not found.background


def test_a_flat_film_is_background_whatever_its_header_says(tmp_path):
    flat = np.full((64, 64), 700, np.uint16)
    for number, tags in enumerate(({}, *FLAT.values())):
        (found,) = drawn(dicom_of(flat, tmp_path / str(number), **TWELVE, **tags), "CR")
        assert found.background
        assert not found.header_unused


def test_a_palette_of_one_colour_is_not_used(tmp_path):
    numbers = (FILM >> 4).astype(np.uint8)
    ds = header(numbers, PhotometricInterpretation="PALETTE COLOR")
    for channel, name in enumerate(("Red", "Green", "Blue")):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{name}PaletteColorLookupTableData", bytes([0, channel]) * 256)
    stack = stack_of([write_dicom(tmp_path / "a", ds)], 64, 64)
    (found,) = drawn(stack, "US")
    assert found.header_unused
    assert not found.background
    assert np.ptp(found.image) > 0.9


def ct(folder, volume, **tags):
    folder.mkdir()
    tags = {"RescaleSlope": "1", "RescaleIntercept": "-1024"} | tags
    return stack_of(
        [
            write_dicom(folder / f"{n}.dcm", header(frame.astype(np.uint16), **tags))
            for n, frame in enumerate(volume)
        ],
        *volume.shape[1:],
    )


AIR = 100 + RNG.normal(0, 10, (64, 64))
BODY = np.where(np.hypot(X - 32, Y - 32) < 20, 1000 + 60 * (X % 9 > 4), AIR)
CT = np.stack([AIR, BODY, BODY, AIR])


@pytest.mark.parametrize("window", [None, ("40", "400"), ("-600", "1500"), ("300", "1500")])
def test_air_beyond_a_body_is_background_in_any_window(tmp_path, window):
    """In a lung window its noise is grey: that makes no slice of it."""
    tags = dict(zip(("WindowCenter", "WindowWidth"), window, strict=True)) if window else {}
    slices = drawn(ct(tmp_path / "a", CT, **tags), "CT")
    assert [item.background for item in slices] == [True, False, False, True]
    assert not any(item.header_unused for item in slices)


@pytest.mark.parametrize("window", [("-2048", "2"), ("9000", "20"), ("40", "0.5")])
def test_a_body_that_a_ct_window_hides_is_drawn_as_without_it(tmp_path, window):
    tags = dict(zip(("WindowCenter", "WindowWidth"), window, strict=True))
    wanted = drawn(ct(tmp_path / "a", CT), "CT")
    found = drawn(ct(tmp_path / "b", CT, **tags), "CT")
    assert [item.background for item in found] == [True, False, False, True]
    usable = float(window[1]) > 1  # the width of a linear window is at least 1 (C.11.2.1.2.1)
    assert [item.header_unused for item in found] == [False, usable, usable, False]
    for one, other in zip(found[1:3], wanted[1:3], strict=True):
        assert np.array_equal(one.image, other.image)


def test_values_of_a_ct_that_are_no_hounsfield_units_are_measured(tmp_path):
    volume = np.stack([FILM, FILM[::-1], FILM]) + 20000
    stack = ct(tmp_path / "a", volume, RescaleIntercept="0")
    window = measure(stack, "auto", "CT", MAX_FILE_BYTES)
    assert 20000 < window.low < window.high < 24096
    assert not any(item.background for item in drawn(stack, "CT"))


def test_a_header_of_one_film_does_not_change_another(tmp_path):
    """Each projection has a window of its own; only the one that hides contrast is not used."""
    good = dicom_of(FILM, tmp_path / "good", **TWELVE, WindowCenter="1800", WindowWidth="3000")
    bad = dicom_of(FILM, tmp_path / "bad", **TWELVE, WindowCenter="-500", WindowWidth="100")
    both = stack_of([good.frames[0].file, bad.frames[0].file], 64, 64)
    (alone,) = drawn(good, "DX")
    first, second = drawn(both, "DX")
    assert [first.header_unused, second.header_unused] == [False, True]
    assert np.array_equal(first.image, alone.image)


def test_the_rule_of_a_detector_is_no_header(tmp_path):
    """Who fitted a detector for bone gets bone: outside of its window is background."""
    stack = dicom_of(FILM, tmp_path / "a", WindowCenter="1800", WindowWidth="3000")
    (found,) = drawn(stack, "CR", "window:60000,65000")
    assert found.background
    assert not found.header_unused


def test_what_is_not_used_is_not_in_the_plane(tmp_path):
    tags = FLAT["Modality LUT that is constant"] | {"WindowCenter": "7", "WindowWidth": "2"}
    stack = dicom_of(FILM, tmp_path / "a", **TWELVE, **tags)
    (plane,) = read_planes(stack, stack.frames, MAX_FILE_BYTES)
    assert plane.header_unused
    assert plane.voi is None
    assert np.array_equal(plane.pixels, FILM - FILM.min())
    assert measure(stack, "full", "CR", MAX_FILE_BYTES) == Window(0, float(np.ptp(FILM)))
