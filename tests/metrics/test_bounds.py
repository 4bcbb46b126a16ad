"""Exact bounds against scipy's own, published values, and by simulation."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from medscan.metrics import allowed, exact, fewest, lower, needed, worth


@pytest.mark.parametrize(("found", "count"), [(0, 10), (1, 10), (57, 60), (60, 60), (13, 400)])
def test_intervals_are_those_of_clopper_and_pearson(found, count):
    mine = exact(found / count, count)
    theirs = binomtest(found, count).proportion_ci(0.95, method="exact")
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize(
    ("found", "count", "low", "high"),
    [
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0, 0.1684),
        (1, 29, 9e-4, 0.1776),
    ],
)
def test_intervals_are_the_published_ones(found, count, low, high):
    """Newcombe, Statistics in Medicine 17:857-872 (1998), table I."""
    mine = exact(found / count, count)
    assert (mine.low, mine.high) == pytest.approx((low, high), abs=1e-4)


def test_a_lower_bound_is_one_sided():
    assert lower(1.0, 59) == pytest.approx(0.05 ** (1 / 59))
    assert lower(1.0, 59) > 0.95 > lower(1.0, 58)
    theirs = binomtest(45, 50, alternative="greater").proportion_ci(0.95, method="exact")
    assert lower(0.9, 50) == pytest.approx(theirs.low)
    assert lower(0.0, 50) == 0
    assert math.isnan(lower(math.nan, 50))
    assert math.isnan(lower(0.5, 0))


def test_studies_of_a_patient_are_worth_one_if_all_are_alike():
    assert worth(["a", "b", "c"]) == 3
    assert worth(["a", "a", "b", "b"]) == 2
    assert worth(["a", "a", "a", "b"]) == pytest.approx(16 / 10)
    assert worth([]) == 0


def test_needed_is_the_first_number_that_shows_the_goal():
    for goal, share in ((0.8, 0.9), (0.95, 1.0), (0.5, 0.52)):
        count = needed(goal, share)
        assert lower(share, count) >= goal > lower(share, count - 1)
    assert needed(0.95, 1.0) == 59
    assert needed(0.9, 0.9) is None
    assert needed(0.9, 0.3) is None


def test_no_miss_at_five_percent_needs_59():
    assert fewest(0.05) == 59
    assert fewest(0.1) == 29
    assert fewest(0.01) == 299
    assert allowed(58, 0.05) is None
    assert allowed(59, 0.05) == 0
    assert allowed(0, 0.05) is None
    # The sample sizes of Wilks for 95 % content and 95 % confidence.
    for count, beyond in ((93, 1), (124, 2), (153, 3), (181, 4)):
        assert allowed(count, 0.05) == beyond
        assert allowed(count - 1, 0.05) == beyond - 1


def test_a_threshold_keeps_its_rate_as_often_as_it_says():
    """2,000 draws of 100 scores: the share of all beyond the chosen one, against the truth."""
    count, rate, draws = 100, 0.1, 2000
    beyond = allowed(count, rate)
    scores = np.sort(np.random.default_rng(0).random((draws, count)), axis=1)
    missed = scores[:, beyond]  # of uniform scores, the share below one is that score
    kept = int((missed <= rate).sum())
    # Exact: the share below the (k + 1)-th smallest exceeds the rate if at most k are below it.
    truth = 1 - binom.cdf(beyond, count, rate)
    low, high = binom.ppf([0.0005, 0.9995], draws, truth)
    assert low <= kept <= high
    assert kept >= binom.ppf(0.0005, draws, 0.95)


def test_the_table_of_the_manual_is_that_of_the_bounds():
    """The first number of studies that shows a share, although some are wrong."""
    page = (Path(__file__).parents[2] / "man" / "medscan-trust.7").read_text("utf-8")
    rows = re.findall(r"^(\w+) wrong +(\d+) +(\d+) +(\d+)$", page, re.M)
    assert [row[0] for row in rows] == ["none", "1", "2", "3", "5"]
    for wrong, *counts in rows:
        missed = 0 if wrong == "none" else int(wrong)
        for goal, text in zip((0.8, 0.9, 0.95), counts, strict=True):
            count = int(text)
            assert lower(1 - missed / count, count) >= goal
            assert lower(1 - missed / (count - 1), count - 1) < goal
