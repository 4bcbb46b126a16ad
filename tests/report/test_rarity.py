"""Shares of normals: exact where they can be counted, in order beyond, free of units."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medscan.report.rarity import Normals, any_of, log_any, normals_of, stack_shares

RNG = np.random.default_rng(5)
DISTANCES = np.sort(RNG.lognormal(0, 0.4, 60))
CHANCES = np.sort(RNG.beta(2, 5, 60))


def of(scores, *, bounded=False):
    return Normals.of(scores, bounded=bounded)


@pytest.mark.parametrize(("scores", "bounded"), [(DISTANCES, False), (CHANCES, True)])
def test_a_share_falls_with_every_step_of_the_score(scores, bounded):
    normals = of(scores, bounded=bounded)
    ends = (0.001, 0.9999) if bounded else (-5, 1e6)
    steps = np.sort(np.concatenate([np.linspace(*ends, 5000), scores]))
    shares = [normals.log_share(score) for score in np.unique(steps)]
    assert max(np.diff(shares)) < 0
    assert max(shares) <= 0
    assert all(normals.counted(score) > 0 for score in steps)


def test_up_to_the_median_a_share_is_counted():
    normals = of(DISTANCES)
    for place in range(30):
        share = math.exp(normals.log_share(DISTANCES[place]))
        assert share == pytest.approx((60 - place) / 61)
        assert normals.counted(DISTANCES[place]) == pytest.approx((61 - place) / 61)
        assert normals.below(DISTANCES[place]) == place


@pytest.mark.parametrize("count", [4, 16, 60, 400])
def test_new_normals_are_as_rare_as_it_says(count):
    """Over many detectors, each with its own normals, whose tail is what is assumed."""
    draws = 1000
    shares = np.array(
        [
            math.exp(of(sample[1:]).log_share(sample[0]))
            for sample in np.random.default_rng(count).exponential(size=(draws, count + 1))
        ]
    )
    for share in (0.02, 0.05, 0.2, 0.6):
        spread = 4 * math.sqrt(share * (1 - share) / draws)
        assert abs(np.mean(shares <= share) - share) < spread + 1 / (count + 1) * (share > 0.5)


def test_a_unit_changes_nothing():
    plain, scaled = of(DISTANCES), of(DISTANCES * 1000 + 7)
    for score in (0.1, 1.0, 1.7, 3.0, 50.0):
        assert plain.log_share(score) == pytest.approx(scaled.log_share(score * 1000 + 7))


def test_probabilities_go_as_far_beyond_normals_as_distances():
    chances = of(CHANCES, bounded=True)
    assert chances.log_share(0.9999) < chances.log_share(0.99) - 1 < chances.log_share(0.9) - 2
    assert chances.log_share(1.0) == chances.log_share(2.0)  # beyond what a probability can be


def test_what_is_no_scale():
    assert of([]) is None
    assert of([0.5]) is None
    assert of([0.5, 0.5, 0.5]) is None
    assert of([0.5, 0.6]) is not None
    assert normals_of({"method": "mvfa"}) is None
    assert normals_of({"method": "mvfa", "normals": [0.1, 0.9]}).bounded
    assert not normals_of({"method": "patchcore", "normals": [0.1, 0.9]}).bounded
    assert not normals_of({"normals": [0.1, 1.9]}).bounded  # by an unknown method


def test_ties_count_against_a_score():
    normals = of([1.0, 2.0, 2.0, 2.0])
    assert normals.counted(2.0) == 4 / 5
    assert math.exp(normals.log_share(2.0)) < math.exp(normals.log_share(1.5))
    assert math.exp(of([1.0] * 9 + [2.0]).log_share(1.0)) == pytest.approx(10 / 11)


@given(st.floats(allow_nan=False), st.sampled_from([1, 12, 21, 5000]))
def test_any_score_has_a_share(score, count):
    for normals in (of(DISTANCES), of(CHANCES, bounded=True), of([0.1, 0.1 + 1e-12])):
        log_share, counted = stack_shares(normals, score, count)
        assert log_share <= 0
        assert 1 / (1 + len(normals.scores)) <= counted <= 1


@pytest.mark.parametrize("count", [20, 21, 60, 3000])
def test_normal_stacks_are_as_rare_as_it_says(count):
    normals = of(np.arange(1, 2000) / 2000)
    slices = np.random.default_rng(1).random((400, count))
    top = max(1, math.ceil(0.05 * count))
    scores = np.sort(slices)[:, -top:].mean(axis=1)
    shares = np.array([stack_shares(normals, score, count) for score in scores])
    for share in (0.1, 0.5, 0.9):
        spread = 4 * math.sqrt(share * (1 - share) / len(scores))
        assert abs(np.mean(np.exp(shares[:, 0]) <= share) - share) < spread + 0.03
        assert abs(np.mean(shares[:, 1] <= share) - share) < spread + 0.03


def test_whole_normal_stacks_are_counted_where_there_are_any():
    """Else a stack of slices that are all alike would look as usual as the highest of many."""
    facts = {"method": "patchcore", "normals": [1.0, 2.0, 3.0, 4.0]}
    slices = normals_of(facts)
    stacks = normals_of(facts | {"normal_stacks": [[n, n, n] for n in facts["normals"]]})
    assert stack_shares(stacks, 3.5, 3)[1] == pytest.approx(2 / 5)
    assert stack_shares(stacks, 3.5, 3)[1] < stack_shares(slices, 3.5, 3)[1]
    assert stack_shares(stacks, 9.0, 3)[1] == pytest.approx(1 / 5)
    assert stack_shares(stacks, 3.5, 1) == stack_shares(slices, 3.5, 1)
    alike = normals_of(facts | {"normal_stacks": [[1.0, 1.0]] * 3})
    assert stack_shares(alike, 3.5, 2) == stack_shares(slices, 3.5, 2)


def test_the_chance_of_one_among_several():
    assert any_of(0.05, 12) == pytest.approx(1 - 0.95**12)
    assert any_of(1.0, 3) == 1
    assert log_any(math.log(0.05), 12) == pytest.approx(math.log(any_of(0.05, 12)))
    for log_share in (-699.0, -701.0, -5000.0):
        assert log_any(log_share, 10) == pytest.approx(log_share + math.log(10))
    assert log_any(-math.inf, 10) == -math.inf
    assert log_any(0.0, 10) == 0


@pytest.mark.parametrize("count", [1, 20, 21])
def test_shares_are_never_smaller_than_the_normals_can_tell(count):
    normals = of(DISTANCES)
    log_share, told = stack_shares(normals, 1e9, count)
    assert math.exp(log_share) < told == 1 / 61
    log_share, told = stack_shares(normals, DISTANCES[-1], count)
    assert told > 1 / 61


def test_a_share_is_alike_on_both_sides_of_what_is_simulated():
    normals = of(np.arange(1, 500) / 500)
    for score in (0.97, 0.99, 1.05):
        (_, counted), (_, simulated) = (stack_shares(normals, score, count) for count in (20, 21))
        assert counted / 4 < simulated < counted
