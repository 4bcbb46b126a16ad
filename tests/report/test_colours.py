import numpy as np
import pytest

from medscan.report.colours import COLOUR_MAPS, Scale, colour_table
from tests.report import make


def luminance(rgb):
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_lightness_grows_all_along_the_table(name):
    table = colour_table(name)
    assert table.shape == (256, 3)
    assert table.min() >= 0
    assert table.max() <= 1
    assert (np.diff(luminance(table)) > 0).all()


BLIND = {
    "protanopia": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deuteranopia": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}
"""What is seen of linear RGB, after Vienot, Brettel and Mollon (1999)."""


@pytest.mark.parametrize("name", COLOUR_MAPS)
@pytest.mark.parametrize("see", BLIND.values(), ids=BLIND)
def test_lightness_grows_for_a_colour_blind_reader_too(name, see):
    rgb = colour_table(name)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = linear @ np.transpose(see) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(seen[::8]) > 0).all()


def test_the_scale_is_fixed_by_the_detector():
    scale = Scale.of(make.DETECTOR)
    assert (scale.low, scale.middle, scale.high) == (0.2, 0.5, pytest.approx(0.8))
    np.testing.assert_allclose(
        scale.position([0.1, 0.2, 0.5, 0.8, 9, np.nan]), [0, 0, 0.5, 1, 1, 0]
    )


@pytest.mark.parametrize(
    "card",
    [{}, {"map_low": 0.5, "map_high": 0.5}, {"map_low": float("nan"), "map_high": 1}],
)
def test_no_calibration_no_scale(card):
    assert Scale.of(card) is None


def test_probabilities_end_the_scale_at_one():
    shipped = {"method": "madclip", "map_low": 0.042, "map_high": 0.873}
    scale = Scale.of(shipped)
    assert scale.high == 1
    np.testing.assert_allclose(
        scale.position([0.042, 0.4575, 0.873, 0.9365, 1]), [0, 0.25, 0.5, 0.75, 1]
    )
    assert scale.position(0.982) > 0.9, "the hottest patch of a study has nearly the last colour"
    distances = Scale.of(shipped | {"method": "patchcore"})
    assert distances.high == pytest.approx(2 * 0.873 - 0.042)
    assert Scale.of(shipped | {"map_high": 1.0}).high > 1, (
        "a threshold at the end has colours above"
    )


def test_same_score_same_colour_and_low_ones_are_clear():
    scale = Scale.of(make.DETECTOR)
    image = make.phantom(24)
    low = scale.overlay(image, np.full((3, 3), 0.25))
    np.testing.assert_array_equal(low, np.repeat(image, 3, 2))
    one = scale.overlay(image, np.full((3, 3), 0.6))
    mixed = np.full((3, 3), 0.6)
    mixed[2] = 0.9
    two = scale.overlay(image, mixed)
    np.testing.assert_array_equal(one[:8], two[:8])
    assert (one != np.repeat(image, 3, 2)).any()


def test_heat_lies_where_its_patch_is():
    heat = np.zeros((4, 4))
    heat[1, 2] = 1
    painted = Scale(0, 0.5).overlay(np.zeros((32, 32, 1), np.uint8), heat).sum(2)
    y, x = np.argwhere(painted == painted.max()).mean(0)
    assert abs(y - (1.5 * 8 - 0.5)) <= 0.5
    assert abs(x - (2.5 * 8 - 0.5)) <= 0.5


def test_the_legend_shows_the_whole_scale():
    legend = Scale(0.2, 0.5).legend(101, 4)
    assert legend.shape == (4, 101, 3)
    assert (legend[:, 0] == 110).all()
    assert len(np.unique(legend[0, 50:], axis=0)) > 30
    uneven = Scale(0.2, 0.9, 1.0)
    at_threshold = uneven.paint(np.full((1, 1, 1), 110, np.uint8), [[0.9]])
    assert (uneven.legend(101, 4)[0, 50] == at_threshold[0, 0]).all()
