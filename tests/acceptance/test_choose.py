"""Thresholds that are chosen keep what they promise: by simulation, and at the limits."""

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from medscan.acceptance import Rule, Seen, Wish, choose, parse_wish
from medscan.errors import UsageError
from medscan.metrics import allowed

SHIFT = 2.0
"""Distance of abnormal scores from normal ones, in standard deviations."""
DRAWS = 2000


def studies(ill, well):
    pairs = [(1, score) for score in ill] + [(0, score) for score in well]
    return [Seen(str(n), str(n), label, score, False) for n, (label, score) in enumerate(pairs)]


def drawn(wish, ill, well, **more):
    rng = np.random.default_rng(1)
    for _ in range(DRAWS):
        scores = rng.normal(SHIFT, 1, ill).tolist(), rng.normal(0, 1, well).tolist()
        yield choose(studies(*scores), wish, **more)


def band(count, rate, confidence=0.95):
    """Where the number of draws lies, 999 times of 1,000, that keep a risk: by the exact share."""
    truth = 1 - binom.cdf(allowed(count, rate, confidence), count, rate)
    assert truth >= confidence
    return binom.ppf([0.0005, 0.9995], DRAWS, truth)


def test_both_risks_of_three_answers_are_kept_as_often_as_promised():
    wish, ill, well, prevalence = Wish(Rule.ANSWERS, 0.1), 40, 60, 0.2
    found = list(drawn(wish, ill, well, prevalence=prevalence))
    low = np.array([one.cleared_below for one in found])
    high = np.array([one.threshold for one in found])
    missed, alarms = norm.cdf(low - SHIFT), norm.sf(high)
    # Where no score is uncertain, one threshold does for both, and keeps the second more often.
    least, most = band(ill, 0.1)
    assert least <= (missed <= 0.1).sum() <= most
    assert (alarms <= 0.1).sum() >= band(well, 0.1)[0]
    caught, cleared = norm.sf(high - SHIFT), norm.cdf(low)
    ppv = caught * prevalence / (caught * prevalence + alarms * (1 - prevalence))
    npv = cleared * (1 - prevalence) / (cleared * (1 - prevalence) + missed * prevalence)
    both = np.array([one.ppv for one in found]) <= ppv
    both &= np.array([one.npv for one in found]) <= npv
    assert both.sum() >= binom.ppf(0.0005, DRAWS, 0.95)
    assert np.mean([one.uncertain_from is not None for one in found]) > 0.1


@pytest.mark.parametrize(("rule", "level", "risk"), [("sensitivity", 0.9, 0.1), ("rate", 0.2, 0.2)])
def test_a_threshold_for_one_label_keeps_its_risk_and_bounds_the_other(rule, level, risk):
    found = list(drawn(Wish(Rule(rule), level), 40, 40))
    threshold = np.array([one.threshold for one in found])
    missed, alarms = norm.cdf(threshold - SHIFT), norm.sf(threshold)
    mine, other = (missed, alarms) if rule == "sensitivity" else (alarms, missed)
    least, most = band(40, risk)
    assert least <= (mine <= risk).sum() <= most
    bounds = np.array([one.alarms if rule == "sensitivity" else one.misses for one in found])
    assert (other <= bounds).sum() >= binom.ppf(0.0005, DRAWS, 0.95)
    assert all(one.uncertain_from is None for one in found)


def test_too_few_events_are_refused_with_the_number_that_is_missing():
    wish = Wish(Rule.ANSWERS, 0.05)
    found = choose(studies([1.0] * 58, [0.0] * 59), wish)
    assert math.isnan(found.threshold)
    assert "needs 59 studies of different patients, and there are 58 abnormal ones" in found.refusal
    assert found.refusal.endswith("label 1 more abnormal ones")
    found = choose(studies([1.0] * 59, [0.0] * 59), wish)
    assert not found.refusal
    assert found.threshold == 1.0
    both = choose(studies([1.0], [0.0] * 2), wish).refusal
    assert both.endswith("label 58 more abnormal and 57 more normal ones")


def test_no_miss_is_allowed_at_59_and_one_at_93():
    scores = np.linspace(1, 2, 93).tolist()
    found = choose(studies(scores[:59], []), Wish(Rule.SENSITIVITY, 0.95))
    assert found.threshold == scores[0]
    assert found.misses == pytest.approx(1 - 0.05 ** (1 / 59))
    found = choose(studies(scores, []), Wish(Rule.SENSITIVITY, 0.95))
    assert found.threshold == scores[1]
    assert found.misses <= 0.05


def test_of_a_patient_the_study_that_is_hardest_counts():
    ill = np.linspace(1, 2, 59).tolist()
    seen = [*studies(ill, []), Seen("again", "5", 1, 0.5, False)]
    assert choose(seen, Wish(Rule.SENSITIVITY, 0.95)).threshold == 0.5
    assert choose(seen[:58], Wish(Rule.SENSITIVITY, 0.95)).refusal


def test_abnormal_studies_without_a_score_leave_no_threshold():
    seen = studies([1.0] * 58 + [math.nan], [])
    assert (
        "so many abnormal studies have no score"
        in choose(seen, Wish(Rule.SENSITIVITY, 0.95)).refusal
    )


def test_three_answers():
    seen = studies(np.linspace(0.4, 1, 59).tolist(), np.linspace(0, 0.6, 59).tolist())
    found = choose(seen, Wish(Rule.ANSWERS, 0.05), prevalence=0.1)
    assert found.uncertain_from == 0.4
    assert found.threshold == pytest.approx(0.6)
    assert found.threshold > 0.6
    answers = [found.applied(one) for one in seen]
    assert sum(one.uncertain for one in answers) / len(answers) == found.uncertain > 0.2
    assert all(one.right for one in answers)
    text = " ".join(found.sentences)
    assert "at most 5.0 % of abnormal patients to come are neither flagged nor uncertain" in text
    assert "PPV at least" in text


@pytest.mark.parametrize("text", ["", "sensitivity", "rate=2", "rate=nan", "other=0.1", "rate=x"])
def test_a_wish_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="--choose: sensitivity=S, rate=R or answers=R"):
        parse_wish(text)
    assert str(parse_wish("rate=0.05")) == "rate 5.0 %"
