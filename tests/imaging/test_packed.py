import zlib

import numpy as np
import pytest

from medscan.decoding import PixelPlane
from medscan.imaging import pack, packed


def unpacked(made):
    """Values of a packed frame, as its docstring says how."""
    dtype, shape = f"<u{made.width}", (made.channels, made.width, made.rows, made.columns)
    bytes_ = np.frombuffer(zlib.decompress(made.data), "u1").reshape(shape)
    folded = np.ascontiguousarray(np.moveaxis(bytes_, 1, -1)).view(dtype)[..., 0]
    change = (folded >> 1) ^ -(folded & 1)
    change[:, :, 0] = np.cumsum(change[:, :, 0], axis=1, dtype=dtype)
    numbers = np.cumsum(change, axis=2, dtype=dtype).transpose(1, 2, 0)
    return np.squeeze(made.first + made.step * numbers, axis=2 if made.channels == 1 else ())


def packed_of(values, **facts):
    plane = PixelPlane(np.asarray(values, np.float32), **facts)
    return pack(plane, plane.pixels, (0.0, 1.0), None)


RNG = np.random.default_rng(3)
EXACT = {
    "8 bits": RNG.integers(0, 256, (9, 7)),
    "12 bits": RNG.integers(0, 4096, (9, 7)),
    "16 bits from end to end": RNG.choice([0, 1, 32767, 32768, 65535], (20, 31)),
    "Hounsfield units": RNG.integers(-1024, 3072, (9, 7)),
    "colour": RNG.integers(0, 256, (9, 7, 3)),
    "one value": np.full((3, 2), -7),
    "one pixel": np.array([[5]]),
}


@pytest.mark.parametrize("values", EXACT.values(), ids=EXACT)
def test_whole_numbers_come_back_as_they_were(values):
    made = packed_of(values)
    np.testing.assert_array_equal(unpacked(made), values)
    assert made.rounded == 0
    assert made.width == (1 if np.ptp(values) <= 255 else 2)


@pytest.mark.parametrize(("slope", "intercept"), [(0.0123, -4.0), (1.7, 0.3), (1e-6, 0.0)])
def test_scaled_numbers_come_back_to_the_last_bit_of_float32(slope, intercept):
    stored = RNG.integers(0, 65536, (30, 20))
    values = (stored * slope + intercept).astype(np.float32)
    made = packed_of(values, step=slope)
    assert made.rounded == 0
    np.testing.assert_allclose(unpacked(made), values, rtol=2.4e-7, atol=0)


def test_other_numbers_are_rounded_and_it_says_by_how_much():
    values = RNG.normal(size=(40, 50)).astype(np.float32)
    made = packed_of(values)
    off = np.abs(unpacked(made) - values).max()
    assert 0 < off <= np.ptp(values) / 65535
    assert made.rounded == pytest.approx(off)


def test_what_no_browser_shows_is_not_packed(monkeypatch):
    monkeypatch.setattr(packed, "MOST_PIXELS", 11)
    assert packed_of(np.zeros((3, 4))) is None
    assert packed_of(np.zeros((3, 3))) is not None
