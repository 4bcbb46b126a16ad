import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medscan.results.maps import on_frame, on_square, sample


def ramp(i, j):
    return 0.3 * i - 0.2 * j + 0.5


GRID = np.fromfunction(lambda row, column: ramp(column, row), (6, 6))


@given(st.floats(0, 5), st.floats(0, 5))
def test_a_ramp_is_sampled_exactly(i, j):
    assert np.isclose(sample(GRID, np.array(i), np.array(j)), ramp(i, j), atol=1e-6)


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_beyond_the_edge_the_nearest_centre_counts(i, j):
    near = ramp(np.clip(i, 0, 5), np.clip(j, 0, 5))
    assert np.isclose(sample(GRID, np.array(i), np.array(j)), near, atol=1e-6)


def test_patch_centres_lie_on_the_square_where_the_model_saw_them():
    found = on_square(GRID, 6 * 5)
    assert found.shape == (30, 30)
    np.testing.assert_allclose(found[2::5, 2::5], GRID, atol=1e-6)


@given(
    st.sampled_from([1, -1]),
    st.sampled_from([1, -1]),
    st.booleans(),
    st.floats(0.5, 9),
    st.floats(-20, 20),
)
def test_pixels_take_the_value_of_their_place_in_the_grid(fx, fy, swap, step, shift):
    linear = np.array([[0, fx], [fy, 0]] if swap else [[fx, 0], [0, fy]]) * step
    affine = np.column_stack([linear, [shift, shift / 2 + 4]])
    found = on_frame(GRID, affine, 9, 13)
    assert found.shape == (9, 13)
    assert found.dtype == np.float32
    x, y = 12, 5
    i, j = np.linalg.solve(linear, np.array([x, y]) - affine[:, 2])
    assert np.isclose(found[y, x], ramp(np.clip(i, 0, 5), np.clip(j, 0, 5)), atol=1e-5)
