import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medscan.archive.types import Kind, Stack
from medscan.imaging import Letterbox

from .make import TURNS

boxes = st.builds(
    Letterbox,
    rows=st.integers(1, 700),
    columns=st.integers(1, 700),
    size=st.sampled_from([32, 224, 240, 336]),
    transpose=st.booleans(),
    flip_x=st.booleans(),
    flip_y=st.booleans(),
    aspect=st.floats(0.1, 10),
)


def apply(affine, point):
    return affine @ [*point, 1.0]


@given(boxes, st.floats(0, 1), st.floats(0, 1), st.sampled_from([8, 14, 16]))
def test_pixel_to_square_to_grid_to_pixel(box, u, v, patch):
    pixel = np.array([round(u * (box.columns - 1)), round(v * (box.rows - 1))])
    square = apply(box.to_square, pixel)
    assert (square > -0.5 - 1e-6).all()
    assert (square < box.size - 0.5 + 1e-6).all()
    grid = (square + 0.5) / patch - 0.5
    assert np.abs(apply(box.grid_to_pixel(patch), grid) - pixel).max() < 0.5e-3


@given(boxes)
def test_picture_fills_one_side_and_is_centred(box):
    rows, columns = box.target
    top, left = box.offset
    assert max(rows, columns) == box.size
    assert 0 <= box.size - rows - 2 * top <= 1
    assert 0 <= box.size - columns - 2 * left <= 1


@given(boxes, st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_bright_pixel_is_drawn_where_to_square_says(box, u, v):
    plane = np.zeros((box.rows, box.columns), dtype=np.float32)
    x, y = round(u * (box.columns - 1)), round(v * (box.rows - 1))
    plane[y, x] = 1.0
    drawn = box.draw(plane)[0].astype(float)
    if drawn.max() < 1e-4:  # smaller than what remains of it
        return
    at = np.array(np.unravel_index(drawn.argmax(), drawn.shape))[::-1]
    shown_rows, shown_columns = box.displayed
    reach = max(1.0, box.target[1] / shown_columns), max(1.0, box.target[0] / shown_rows)
    # Where much is shrunk, filter weights of neighbours that are equally near differ a little.
    assert (np.abs(at - apply(box.to_square, (x, y))) <= np.array(reach) / 2 + 0.05).all()


@pytest.mark.parametrize("turn", TURNS)
def test_display_is_transposed_first_then_mirrored(turn):
    plane = np.arange(12, dtype=np.float32).reshape(3, 4) / 12
    box = Letterbox(3, 4, 12, *turn)
    shown = plane.T if turn[0] else plane
    shown = shown[:, ::-1] if turn[1] else shown
    shown = shown[::-1] if turn[2] else shown
    plain = Letterbox(*shown.shape, 12)
    assert np.array_equal(box.draw(plane), plain.draw(np.ascontiguousarray(shown)))
    mask = plane > 0.5
    assert np.array_equal(box.draw_mask(mask), plain.draw_mask(shown > 0.5))


@given(boxes, st.sampled_from([8, 16]))
@settings(max_examples=40, deadline=None)
def test_map_to_pixels_inverts_grid_to_pixel(box, patch):
    cells = box.size // patch
    grid_x, grid_y = np.meshgrid(np.arange(cells), np.arange(cells))
    y, x = np.mgrid[: box.rows, : box.columns]
    square = np.einsum("ij,jyx->iyx", box.to_square, np.stack([x, y, np.ones_like(x)]))
    expected = np.clip((square + 0.5) / patch - 0.5, 0, cells - 1)
    for grid, wanted in ((grid_x, expected[0]), (grid_y, expected[1])):
        back = box.map_to_pixels(grid.astype(np.float16), patch)
        assert back.dtype == np.float32
        assert back.shape == (box.rows, box.columns)
        assert np.abs(back - wanted).max() < 1e-3


def test_spacing_makes_millimetres_square():
    stack = Stack("s", Kind.DICOM, (), 100, 100, pixel_spacing=(2.0, 1.0))
    assert Letterbox.of(stack, 64).target == (64, 32)


def test_transposed_spacing_follows_the_display():
    stored = (0.0, 1.0, 0.0, 1.0, 0.0, 0.0)
    stack = Stack("s", Kind.DICOM, (), 100, 100, stored, pixel_spacing=(2.0, 1.0))
    box = Letterbox.of(stack, 64)
    assert box.transpose
    assert box.target == (32, 64)


@pytest.mark.parametrize("spacing", [(0.0, 1.0), (1e300, 1e-300), (-1.0, 1.0), (1.0, 1e9)])
def test_hostile_spacing_still_gives_a_picture(spacing):
    box = Letterbox.of(Stack("s", Kind.DICOM, (), 5, 7, pixel_spacing=spacing), 32)
    assert min(box.target) >= 1
    assert max(box.target) == 32
    assert np.isfinite(box.grid_to_pixel(16)).all()


def test_drawing_stays_within_grey_and_padding_is_black():
    rng = np.random.default_rng(0)
    box = Letterbox(20, 60, 96)
    drawn = box.draw((rng.random((20, 60, 3)) > 0.5).astype(np.float32))
    assert drawn.shape == (3, 96, 96)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert not drawn[:, : box.offset[0]].any()
