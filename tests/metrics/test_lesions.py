"""The free-response curve against a plain count of hits and false alarms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from medscan.metrics import RATES, LesionCurve

SIDE = 50  # candidates are more than two pixels apart, and hit a lesion up to two pixels away


def curve_of(*images):
    """A curve of images given as (peaks, lesions): {(row, column): height} and boxes."""
    curve = LesionCurve()
    for number, (peaks, boxes) in enumerate(images):
        curve.add(*drawn(peaks, boxes), group=number)
    return curve


def drawn(peaks, boxes):
    scores, mask = np.zeros((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), bool)
    scores -= np.arange(SIDE)[:, None] * 1e-3 + np.arange(SIDE) * 1e-3  # no plateau, a peak at 0, 0
    for place, height in peaks.items():
        scores[place] = height
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = True
    return scores, mask


def test_a_hit_a_miss_and_false_alarms():
    curve = curve_of(
        ({(10, 10): 0.9, (30, 30): 0.5}, [(8, 12, 8, 12), (40, 44, 40, 44)]),
        ({(20, 20): 0.7, (40, 10): 0.3}, []),
    )
    assert (curve.images, curve.lesions) == (2, 2)
    # Above 0.7 is one lesion of two and no alarm; at 0.5 alarms are 2 in 2 images.
    found = curve.sensitivities([0.0, 0.49, 0.5, 8.0])
    assert found == pytest.approx([0.5, 0.5, 0.5, 0.5])
    lower = curve_of(
        ({(10, 10): 0.6, (30, 30): 0.5}, [(8, 12, 8, 12)]), ({(20, 20): 0.7, (40, 10): 0.3}, [])
    )
    assert lower.sensitivities([0.0, 0.49, 0.5, 1.0]) == pytest.approx([0, 0, 1, 1])


def test_an_alarm_as_high_as_the_lesion_comes_with_it():
    curve = curve_of(({(10, 10): 0.5, (30, 30): 0.5}, [(8, 12, 8, 12)]))
    assert curve.sensitivities([0.99, 1.0]) == pytest.approx([0, 1])


@pytest.mark.parametrize(("gap", "hit"), [(0, True), (2, True), (3, False)])
def test_a_candidate_beside_a_lesion(gap, hit):
    curve = curve_of(({(20, 19 + gap): 0.9}, [(18, 22, 10, 20)]))
    assert curve.sensitivities([0.0])[0] == hit


def test_more_candidates_on_a_lesion_are_one_hit_and_no_alarm():
    curve = curve_of(({(10, 10): 0.9, (10, 20): 0.8, (10, 30): 0.7}, [(8, 12, 8, 32)]))
    assert curve.sensitivities([0.0])[0] == 1


def test_only_the_nearest_lesion_is_hit():
    curve = curve_of(({(20, 20): 0.9}, [(18, 23, 18, 20), (18, 23, 22, 24)]))
    assert curve.sensitivities([8.0])[0] == 0.5


def test_a_plateau_is_one_candidate_at_its_centre():
    curve, mask = LesionCurve(), np.zeros((SIDE, SIDE), bool)
    mask[SIDE // 2, SIDE // 2] = True
    curve.add(np.full((SIDE, SIDE), 0.4), mask)
    assert curve.sensitivities([0.0])[0] == 1


def test_padding_has_neither_candidates_nor_lesions():
    scores, mask = drawn({(10, 10): 0.9, (40, 40): 5.0}, [(8, 12, 8, 12), (44, 48, 44, 48)])
    scores[45:] = np.nan
    inside = np.zeros_like(mask)
    inside[:30, :30] = True
    curve = LesionCurve()
    curve.add(scores, mask, inside)
    assert curve.lesions == 1
    assert curve.sensitivities([0.0])[0] == 1
    with pytest.raises(ValueError, match="finite"):
        curve.add(scores, mask)
    with pytest.raises(ValueError, match="shapes"):
        curve.add(scores, mask[:4])
    assert curve.images == 1


def plain(images, rate):
    """Highest share of lesions of any threshold at up to that many false alarms per image."""
    best = 0.0
    heights = sorted({h for peaks, _ in images for h in peaks.values()} | {math.inf, -math.inf})
    for threshold in heights:
        alarms, found, lesions = 0, 0, 0
        for peaks, boxes in images:
            hit = set()
            for (row, column), height in peaks.items():
                inside = [
                    n
                    for n, (top, bottom, left, right) in enumerate(boxes)
                    if top <= row < bottom and left <= column < right
                ]
                if height >= threshold:
                    hit |= set(inside)
                    alarms += not inside
            found, lesions = found + len(hit), lesions + len(boxes)
        if alarms <= rate * len(images):
            best = max(best, found / lesions)
    return best


HEIGHTS = hnp.arrays(np.float64, (3, 9), elements=st.sampled_from([0.2, 0.4, 0.6, 0.8]))


@given(HEIGHTS, st.lists(st.sets(st.integers(0, 8), max_size=3), min_size=3, max_size=3))
@settings(max_examples=40, deadline=None)
def test_sensitivities_are_those_of_a_plain_count(heights, lesions):
    images = []
    for row, numbers in zip(heights, lesions, strict=True):
        places = [(10 + 15 * (n // 3), 10 + 15 * (n % 3)) for n in range(9)]
        boxes = [
            (places[n][0] - 1, places[n][0] + 2, places[n][1] - 1, places[n][1] + 2)
            for n in numbers
        ]
        peaks = dict(zip(places, row.tolist(), strict=True)) | {(0, 0): 0.1}
        images.append((peaks, boxes))
    curve = curve_of(*images)
    found = curve.sensitivities()
    if not any(boxes for _, boxes in images):
        assert np.isnan(found).all()
        return
    assert found == pytest.approx([plain(images, rate) for rate in RATES])


def test_intervals_are_of_redrawn_patients():
    rng, images = np.random.default_rng(0), []
    for _ in range(12):
        peaks = {(10, 10): rng.random(), (30, 30): rng.random()}
        images.append((peaks, [(8, 12, 8, 12)]))
    curve = LesionCurve()
    for number, image in enumerate(images):
        curve.add(*drawn(*image), group=f"p{number // 2}")
    drawn_values = curve.resampled(20, seed=5)
    assert drawn_values.shape == (20, 7)
    rng = np.random.default_rng(5)
    for values in drawn_values:
        patients = rng.integers(6, size=6)
        again = [images[2 * p + k] for p in patients for k in (0, 1)]
        assert values == pytest.approx(curve_of(*again).sensitivities())
    alone = LesionCurve()
    alone.add(*drawn(*images[0]))
    assert alone.resampled(5).shape == (0, 7)


def test_nothing_is_nothing():
    assert np.isnan(LesionCurve().sensitivities()).all()
