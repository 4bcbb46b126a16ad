"""The evidence keeps its rate of false alarms, and notices what it should."""

import numpy as np
import pytest
from scipy.stats import binom, kstest

from medscan.monitoring import BETS, began, bets, evidence, p_values

NIGHTS, STUDIES, RATE = 365, 8, 0.05


def test_p_values_are_uniform_whatever_scores_are_distributed_like():
    rng = np.random.default_rng(0)
    for scores in (rng.normal(size=3000), rng.exponential(size=3000), rng.integers(0, 3, 3000)):
        p = p_values(scores.tolist(), rng.random(3000).tolist())
        assert kstest(p, "uniform").pvalue > 0.01
        assert abs(np.corrcoef(p[1:], p[:-1])[0, 1]) < 0.05


def test_a_p_value_is_the_share_of_scores_before_that_are_as_high():
    assert p_values([1, 2, 0, 1], [0.5] * 4) == pytest.approx([0.5, 0.25, 2.5 / 3, 2 / 4])


def test_a_bet_gains_nothing_on_average():
    p = (np.arange(200_000) + 0.5) / 200_000
    assert np.exp(bets(p)).mean(0) == pytest.approx(np.ones(len(BETS)), abs=0.01)


def test_within_a_year_there_are_at_most_as_many_false_alarms_as_promised():
    """1,000 years of five streams that do not change: their p-values are uniform."""
    rng = np.random.default_rng(0)
    stakes = np.full(NIGHTS, RATE / 365 / 5)
    alarms = np.zeros(1000, bool)
    for _ in range(5):
        gains = bets(rng.random((1000, NIGHTS, 2))).sum(2)
        alarms |= evidence(gains, stakes).max(1) >= 1
    assert alarms.sum() <= binom.ppf(0.999, 1000, RATE)
    assert alarms.sum() > 0


def test_so_do_scores_themselves():
    """Scores of 60 years, that are not normal, through their places among all before them."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(60):
        p = p_values(rng.gamma(2, size=NIGHTS * 2).tolist(), rng.random(NIGHTS * 2).tolist())
        gains = bets(p).reshape(NIGHTS, 2, -1).sum(1)
        found.append(evidence(gains, np.full(NIGHTS, 0.2 / 365)).max() >= 1)
    assert sum(found) <= binom.ppf(0.999, 60, 0.2)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        (lambda scores: scores + 0.5, "higher"),
        (lambda scores: scores - 0.5, "lower"),
        (lambda scores: scores * 2, "more spread out"),
    ],
)
def test_a_change_is_noticed_within_days_and_dated(changed, word):
    """Half a deviation, at a scanner with 20 studies a night, after 60 nights."""
    rng, delays, dates = np.random.default_rng(2), [], []
    for _ in range(20):
        scores = rng.normal(size=(90, 20))
        scores[60:] = changed(scores[60:])
        p = p_values(scores.ravel().tolist(), rng.random(1800).tolist())
        gains = bets(p).reshape(90, 20, -1).sum(1)
        found = evidence(gains, np.full(90, RATE / 365 / 12))
        assert found[:60].max() < 1
        noticed = int(np.argmax(found >= 1))
        night, bet = began(gains[: noticed + 1])
        delays.append(noticed - 59)
        dates.append(night - 60)
        assert BETS[bet] == word
    assert np.median(delays) <= 8
    assert max(delays) <= 20
    assert np.median(np.abs(dates)) <= 1
