import struct

import numpy as np
import pytest
from PIL import Image

from medscan.archive import index
from medscan.archive.types import Frame, Kind, Reason
from medscan.errors import CorruptError, FileError, TooLargeError, TruncatedError
from medscan.imaging import (
    PixelPlane,
    Window,
    apply_window,
    is_background,
    measure,
    read_planes,
    render,
)

from .make import MAX_FILE_BYTES, archived, dicom_of, stack_of

RNG = np.random.default_rng(5)
GREY = RNG.integers(0, 256, (6, 9)).astype(np.uint8)
RGB = RNG.integers(0, 256, (6, 9, 3)).astype(np.uint8)


def stack(path, rows=6, columns=9):
    return stack_of([archived(path)], rows, columns, Kind.PICTURE)


def only(stack, max_file_bytes=MAX_FILE_BYTES):
    (found,) = read_planes(stack, stack.frames, max_file_bytes)
    return found


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_and_colour(tmp_path, suffix):
    Image.fromarray(GREY).save(tmp_path / f"g.{suffix}")
    Image.fromarray(RGB).save(tmp_path / f"c.{suffix}")
    assert np.array_equal(only(stack(tmp_path / f"g.{suffix}")).pixels, GREY)
    assert np.array_equal(only(stack(tmp_path / f"c.{suffix}")).pixels, RGB)
    assert measure(stack(tmp_path / f"g.{suffix}"), "auto", "", MAX_FILE_BYTES) == Window(
        0.0, 255.0
    )


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_stay_numbers(tmp_path, suffix):
    values = RNG.integers(0, 65536, (6, 9)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    found = stack(tmp_path / f"a.{suffix}")
    assert np.array_equal(only(found).pixels, values)
    assert measure(found, "auto", "", MAX_FILE_BYTES).high > 255


def test_alpha_is_dropped_palette_is_colour_grey_colour_is_grey(tmp_path):
    alpha = np.concatenate([RGB, np.zeros((6, 9, 1), np.uint8)], axis=2)
    Image.fromarray(alpha).save(tmp_path / "a.png")
    assert np.array_equal(only(stack(tmp_path / "a.png")).pixels, RGB)
    palette = Image.fromarray(RGB).convert("P")
    palette.save(tmp_path / "p.png")
    assert np.array_equal(
        only(stack(tmp_path / "p.png")).pixels, np.asarray(palette.convert("RGB"))
    )
    Image.fromarray(np.repeat(GREY[..., None], 3, axis=2)).save(tmp_path / "g.png")
    assert np.array_equal(only(stack(tmp_path / "g.png")).pixels, GREY)


def test_exif_orientation(tmp_path):
    image = Image.fromarray(GREY)
    exif = image.getexif()
    exif[274] = 6  # rotate by 90 degrees clockwise to show
    image.save(tmp_path / "e.png", exif=exif)
    assert np.array_equal(only(stack(tmp_path / "e.png", 9, 6)).pixels, np.rot90(GREY, -1))


def test_pages(tmp_path):
    pages = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    pages[0].save(tmp_path / "p.tif", save_all=True, append_images=pages[1:])
    found = stack(tmp_path / "p.tif")
    frames = [Frame(found.frames[0].file, i) for i in (1, 0, 2)]
    second, first, none = read_planes(found, frames, MAX_FILE_BYTES)
    assert np.array_equal(first.pixels, GREY)
    assert np.array_equal(second.pixels, 255 - GREY)
    assert isinstance(none, CorruptError)


def test_broken_pictures(tmp_path, monkeypatch):
    Image.fromarray(RNG.integers(0, 256, (200, 200)).astype(np.uint8)).save(tmp_path / "a.jpg")
    found = stack(tmp_path / "a.jpg", 200, 200)
    assert isinstance(only(found, 1000), TooLargeError)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert isinstance(only(found), TooLargeError)
    monkeypatch.undo()
    raw = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(raw[: len(raw) // 2])
    assert isinstance(only(found), TruncatedError)
    (tmp_path / "a.jpg").write_bytes(b"GIF89a")
    assert isinstance(only(found), FileError)


def test_background_is_recognised():
    dark = np.zeros((20, 20), dtype=np.float32)
    assert is_background(PixelPlane(dark), Window(0, 1))
    white = np.full((20, 20, 3), 255, dtype=np.float32)
    assert is_background(PixelPlane(white), Window(0, 1))
    dark[0, :3] = 1.0
    assert is_background(PixelPlane(dark), Window(0, 1))
    dark[:5] = 1.0
    assert not is_background(PixelPlane(dark), Window(0, 1))


@pytest.mark.parametrize(
    ("side", "grey", "nothing"), [(3, 0.3, False), (2, 1.0, True), (9, 0.2, True)]
)
def test_a_bright_spot_in_the_dark_is_content(side, grey, nothing):
    shown = np.zeros((256, 256), dtype=np.float32)
    shown[40 : 40 + side, 90 : 90 + side] = grey
    assert is_background(PixelPlane(shown), Window(0, 1)) == nothing
    inverted = PixelPlane(1 - shown, inverted=True)
    assert is_background(inverted, Window(0, 1)) == nothing


def test_render_keeps_order_and_reports_what_failed(tmp_path):
    good = dicom_of(np.arange(64, dtype=np.uint16).reshape(8, 8), tmp_path / "good").frames[0]
    empty = dicom_of(np.zeros((8, 8), dtype=np.uint16), tmp_path / "empty").frames[0]
    (tmp_path / "bad").write_bytes(b"\0" * 300)
    bad = Frame(archived(tmp_path / "bad"))
    found = stack_of([good.file, empty.file, bad.file], 8, 8)
    first, second, third = render(found, [good, bad, empty], 16, Window(0, 63), MAX_FILE_BYTES)
    assert first.image.shape == (1, 16, 16)
    assert first.image.dtype == np.float32
    assert not first.background
    assert isinstance(second, FileError)
    assert third.background
    assert not third.image.any()
    assert apply_window(only(stack_of([good.file], 8, 8)), Window(0, 63)).max() == 1.0


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}
"""What each EXIF orientation asks for (TIFF 6.0, section 8)."""


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pictures_have_the_size_that_the_index_tells(tmp_path, orientation, suffix):
    image = Image.fromarray(RGB)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"turned.{suffix}", exif=exif)
    (study,) = index([tmp_path]).studies
    (found,) = study.series[0].stacks
    assert (found.rows, found.columns) == ((9, 6) if orientation >= 5 else (6, 9))
    pixels = only(found).pixels
    assert pixels.shape == (found.rows, found.columns, 3)
    if suffix != "jpg":
        assert np.array_equal(pixels, TURNS[orientation](RGB))


def tiff(path, pixels, photometric, sample_format, bits=None):
    """An uncompressed grey TIFF, its numbers as given."""
    rows, columns = pixels.shape
    data = pixels.tobytes()
    longs = {256: columns, 257: rows, 273: 8, 278: rows, 279: len(data)}
    shorts = {258: bits or 8 * pixels.dtype.itemsize, 259: 1, 262: photometric, 277: 1}
    tags = [(t, 4, v) for t, v in longs.items()] + [(t, 3, v) for t, v in shorts.items()]
    tags = sorted([*tags, (339, 3, sample_format)])
    entries = b"".join(
        struct.pack("<HHIHxx" if k == 3 else "<HHII", t, k, 1, v) for t, k, v in tags
    )
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    path.write_bytes(head + data + struct.pack("<H", len(tags)) + entries + bytes(4))
    return archived(path)


@pytest.mark.parametrize(("kind", "sample_format", "white"), [("<u2", 1, 65535), ("<f4", 3, 0)])
def test_zero_is_white_where_a_tiff_says_so(tmp_path, kind, sample_format, white):
    """TIFF 6.0, tag 262: Pillow inverts 8 bits itself, and nothing deeper."""
    numbers = np.array([[0, 100, 7], [65535, 200, 30000]]).astype(kind)
    file = tiff(tmp_path / "white.tif", numbers, 0, sample_format)
    found = only(stack_of([file], 2, 3, Kind.PICTURE)).pixels
    assert np.array_equal(found, white - numbers.astype(float))
    file = tiff(tmp_path / "black.tif", numbers, 1, sample_format)
    assert np.array_equal(only(stack_of([file], 2, 3, Kind.PICTURE)).pixels, numbers)


@pytest.mark.parametrize(("kind", "sample_format"), [("<u4", 1), ("<i4", 2), ("<i2", 2), ("i1", 2)])
def test_numbers_of_a_tiff_have_the_sign_that_it_says(tmp_path, kind, sample_format):
    ends = np.iinfo(kind)
    numbers = np.array([[ends.min, ends.max], [5, 100]], kind)
    file = tiff(tmp_path / "a.tif", numbers, 1, sample_format)
    found = only(stack_of([file], 2, 2, Kind.PICTURE)).pixels
    assert np.array_equal(found, numbers.astype(np.float32))


def test_what_is_no_number_is_as_dark_as_the_darkest(tmp_path):
    numbers = np.array([[-1350, -743.5], [np.nan, np.inf], [-np.inf, -900]], "<f4")
    found = only(stack_of([tiff(tmp_path / "a.tif", numbers, 1, 3)], 3, 2, Kind.PICTURE)).pixels
    assert np.array_equal(found, np.where(np.isfinite(numbers), numbers, -1350))


@pytest.mark.parametrize("kind", ["<f8", "<f2"])
def test_a_tiff_that_pillow_does_not_read_is_not_called_corrupt(tmp_path, kind):
    tiff(tmp_path / "a.tif", np.ones((2, 3), kind), 1, 3)
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(whole[:40])
    reasons = {o.file.path: o.reason for o in index([tmp_path]).set_aside}
    assert reasons == {"a.tif": Reason.UNSUPPORTED, "b.tif": Reason.CORRUPT}
