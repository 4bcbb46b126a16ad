"""Which slices are scored where not all are."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medscan.scoring import aggregate, first_slices, further_slices, top_count
from medscan.scoring.spacing import runs_of


@given(
    st.lists(st.floats(0.1, 9), min_size=1, max_size=60),
    st.floats(0.1, 20),
    st.sampled_from([-1, 1]),
)
def test_first_slices_are_no_further_apart_than_asked_unless_they_are_neighbours(
    steps, every, sign
):
    positions = (sign * np.cumsum(steps)).tolist()
    chosen = first_slices(positions, every)
    assert chosen[0] == 0
    assert chosen[-1] == len(positions) - 1
    for one, two in pairwise(chosen):
        assert two == one + 1 or abs(positions[two] - positions[one]) <= every + 1e-9
    for one, three in zip(chosen, chosen[2:], strict=False):  # and no closer than they must be
        last = three == len(positions) - 1
        assert last or abs(positions[three] - positions[one]) > every


@pytest.mark.parametrize(
    ("positions", "every"),
    [
        ([0.0, 1.0, 2.0, 3.0], None),
        ([0.0, None, 2.0, 3.0], 9),
        ([0.0, 1.0, 1.0, 3.0], 9),  # two times, or two stacks
        ([0.0, 2.0, 1.0, 3.0], 9),
        ([0.0, 1.0, 2.0, 3.0], 0.5),
    ],
)
def test_all_are_scored_where_that_is_asked_for_or_their_places_are_no_row(positions, every):
    assert first_slices(positions, every) == [0, 1, 2, 3]
    assert first_slices([], every) == []


def played(scores, positions, every, levels):
    """Scores (n,) as far as they are asked for, and how often that was."""
    scores = np.asarray(scores, np.float32)
    asked = np.zeros(len(scores), bool)
    asked[first_slices(positions, every)] = True
    rounds = 0
    while True:
        known = np.where(asked, scores, np.nan).astype(np.float32)
        more = further_slices(known, ~asked, levels, top_count(len(scores)))
        if not more:
            return known, rounds
        assert not asked[more].any()
        asked[more] = True
        rounds += 1


@given(st.lists(st.floats(-3, 3, width=32), min_size=2, max_size=80), st.floats(-3, 3))
def test_it_ends_and_a_stack_that_is_flagged_would_be_with_all_its_slices(scores, level):
    positions = list(range(len(scores)))
    known, rounds = played(scores, positions, 4, [level])
    assert rounds <= len(scores)
    left = int(np.isnan(known).sum())
    found, whole = aggregate(known, left), aggregate(np.asarray(scores, np.float32))
    assert found <= whole + 1e-6
    peak = int(np.nanargmax(known))
    assert np.isfinite(known[max(0, peak - 1) : peak + 2]).all()


def test_a_smooth_stack_keeps_its_flag_and_its_highest_slice_at_a_third_of_the_work():
    place = np.arange(200)
    scores = np.exp(-(((place - 131) / 9.0) ** 2)) + 0.1 * np.sin(place / 7)
    whole = aggregate(scores.astype(np.float32))
    for level in (whole - 0.01, whole + 0.01, 0.2, 2.0):
        known, _ = played(scores, place.tolist(), 6, [level])
        left = int(np.isnan(known).sum())
        assert (aggregate(known, left) >= level) == (whole >= level)
        assert np.nanargmax(known) == scores.argmax()
        assert left > 120


def test_without_a_level_only_the_highest_is_looked_at_closely():
    scores = np.zeros(40)
    scores[19] = 1  # beside 18, which is scored first
    scores[18], scores[30] = 0.5, 0.4
    known, _ = played(scores, list(range(40)), 6, [])
    assert known[19] == 1
    assert np.flatnonzero(np.isfinite(known)).tolist() == [0, 6, *range(12, 25), 30, 36, 39]


def test_all_are_asked_for_where_too_few_have_a_score():
    scores = np.full(5, np.nan, np.float32)
    passed_over = np.array([False, True, False, True, True])
    assert further_slices(scores, passed_over, [0.5], 1) == [1, 3, 4]
    scores[0] = 1
    assert further_slices(scores, passed_over, [0.5], 1) == [1, 3, 4]


def test_runs_are_of_neighbours_and_not_too_long():
    assert list(runs_of([0, 1, 2, 3, 7, 9, 10], 3)) == [(0, 3), (3, 1), (7, 1), (9, 2)]
    assert list(runs_of([], 3)) == []
