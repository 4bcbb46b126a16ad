"""Figures of labelled studies against independent references."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from medscan.acceptance import Goals, Seen, judge, measure, strata_of, unseen_bags
from medscan.acceptance.figures import percent
from medscan.acceptance.goals import Verdict, verdict_of
from medscan.acceptance.strata import compared, holm
from medscan.bags import StudyOptions, Watcher
from medscan.detector import read
from tests.bags.conftest import uid, write_labels, write_study


def study(number, label, score, *, flagged=None, **facts):
    patient = facts.pop("patient", f"patient {number}")
    return Seen(
        str(number), patient, label, score, score >= 0.5 if flagged is None else flagged, **facts
    )


def many(found, missed, cleared, alarms):
    scores = [(1, 0.9)] * found + [(1, 0.1)] * missed + [(0, 0.2)] * cleared + [(0, 0.8)] * alarms
    return [study(n, *one, seconds=n + 1.0) for n, one in enumerate(scores)]


def test_shares_have_the_intervals_of_clopper_and_pearson():
    figures = measure(many(45, 5, 180, 20), prevalence=0.1)
    for share, k, n in ((figures.sensitivity, 45, 50), (figures.specificity, 180, 200)):
        theirs = binomtest(k, n).proportion_ci(0.95, method="exact")
        mine = share.interval()
        assert (mine.value, mine.low, mine.high) == pytest.approx((k / n, *theirs))
    assert figures.flag_rate.value == 65 / 250
    # Bayes' rule by counting 1,000 studies of which 100 are abnormal.
    assert figures.ppv.value == pytest.approx(90 / (90 + 90))
    assert figures.npv.value == pytest.approx(810 / (810 + 10))
    assert figures.expected_flags.value == pytest.approx(0.18)
    for value in (figures.ppv, figures.npv, figures.expected_flags):
        assert value.low < value.value < value.high


def test_studies_unlike_the_shots_are_counted_and_change_no_other_figure():
    seen = many(45, 5, 180, 20)
    unlike = [replace(one, unlike=n < 9) for n, one in enumerate(seen)]
    outside = study(900, 1, math.nan, asked=False, unlike=True)
    figures = measure([*unlike, outside])
    assert (figures.unlike_rate.found, figures.unlike_rate.studies) == (9, 250)
    assert figures.sensitivity == measure(seen).sensitivity


def test_predictive_values_are_not_told_without_a_prevalence():
    figures = measure(many(45, 5, 180, 20))
    assert math.isnan(figures.ppv.value)
    assert math.isnan(figures.expected_flags.low)


def test_the_area_is_that_of_scikit_learn_and_has_a_width_where_all_are_told_apart():
    rng = np.random.default_rng(0)
    seen = [study(n, n % 2, float(rng.normal(n % 2))) for n in range(80)]
    figures = measure(seen)
    area = roc_auc_score([one.label for one in seen], [one.score for one in seen])
    assert figures.auroc.value == pytest.approx(area)
    assert figures.auroc.low < area < figures.auroc.high
    perfect = measure(many(10, 0, 30, 0)).auroc
    assert (perfect.value, perfect.high) == (1, 1)
    assert perfect.low == pytest.approx(binomtest(10, 10).proportion_ci(method="exact").low)


def test_studies_of_one_patient_are_not_worth_several():
    alone = measure(many(20, 0, 20, 0)).sensitivity
    pairs = [study(n, 1, 0.9, patient=f"patient {n // 2}") for n in range(20)]
    together = measure(pairs).sensitivity
    assert (together.studies, together.patients) == (20, 10)
    assert together.interval().low < alone.interval().low
    assert together.interval().low == pytest.approx(0.025**0.1)


def test_what_has_no_score_is_missed_and_what_is_not_for_it_does_not_count():
    seen = many(9, 0, 9, 0)
    seen += [study(90, 1, math.nan, flagged=False), study(91, 0, math.nan, flagged=False)]
    seen += [study(92, 1, math.nan, flagged=False, asked=False)]
    figures = measure(seen)
    assert (figures.sensitivity.found, figures.sensitivity.studies) == (9, 10)
    assert (figures.specificity.found, figures.specificity.studies) == (9, 9)
    assert (figures.failed, figures.outside, figures.abnormals) == (2, 1, 10)


def test_times_are_those_of_the_studies():
    figures = measure(many(10, 0, 10, 0))
    assert figures.seconds_median.value == 10.5
    assert figures.seconds_median.low <= 10.5 <= figures.seconds_median.high
    assert figures.seconds_95.value == pytest.approx(np.quantile(np.arange(1, 21), 0.95))


@pytest.mark.parametrize(
    ("counts", "verdicts"),
    [
        ((58, 2, 190, 10), ("accepted", "accepted")),
        ((9, 1, 190, 10), ("not shown", "accepted")),
        ((30, 30, 190, 10), ("not reached", "accepted")),
        ((58, 2, 20, 2), ("accepted", "not shown")),
        ((0, 0, 190, 10), ("not shown", "accepted")),
    ],
)
def test_a_goal_is_shown_refuted_or_neither(counts, verdicts):
    goals = judge(measure(many(*counts)), Goals())
    assert tuple(goal.verdict for goal in goals) == verdicts


def test_it_says_how_many_more_would_do():
    sensitivity, _ = judge(measure(many(18, 2, 190, 10)), Goals())
    assert sensitivity.verdict is Verdict.TOO_FEW
    total = 20 + sensitivity.more
    theirs = [
        binomtest(round(0.9 * n), n, alternative="greater").proportion_ci(0.95, method="exact").low
        for n in (total - total % 10 - 10, total - total % 10 + 10)
    ]
    assert theirs[0] < 0.8 <= theirs[1]
    assert f"{sensitivity.more} more abnormal studies of other patients" in sensitivity.sentence
    hopeless, _ = judge(measure(many(16, 4, 190, 10)), Goals())
    assert hopeless.more is None
    assert "more studies like these would not show it" in hopeless.sentence


def test_one_goal_that_is_not_reached_decides():
    assert verdict_of(judge(measure(many(58, 2, 190, 10)), Goals())) is Verdict.ACCEPTED
    assert verdict_of(judge(measure(many(9, 1, 100, 100)), Goals())) is Verdict.TOO_LOW
    assert percent(0.79996) == "79.9 %"


def test_holm_adjusts_as_statsmodels_does():
    """multipletests([0.01, 0.04, 0.03, 0.005], method="holm") gives these."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = holm([0.04, math.nan, 0.9])
    assert adjusted[::2] == pytest.approx([0.08, 0.9])
    assert math.isnan(adjusted[1])


def test_a_scanner_that_differs_is_found_and_one_that_does_not_is_not():
    seen = [
        study(n, 1, 0.9 if n % 3 or n < 60 else 0.1, facts={"model": "AB"[n >= 60]})
        for n in range(120)
    ]
    same = [study(200 + n, 0, 0.1, facts={"model": "AB"[n % 2]}) for n in range(60)]
    strata = {one.value: one for one in strata_of(seen + same)}
    assert strata["B"].sensitivity.found == 40
    assert strata["B"].p_sensitivity < 0.001
    assert strata["B"].p_specificity == 1
    assert compared(list(strata.values())) == 4


def test_many_values_become_one_stratum_and_none_is_left_out():
    seen = [study(n, n % 2, 0.9, facts={"site": f"s{n}" if n else ""}) for n in range(40)]
    strata = strata_of(seen)
    assert len(strata) == 12
    assert strata[-1].value == "(other values)"
    assert sum(one.studies for one in strata) == 40


def test_that_a_slice_is_normal_does_not_make_its_study_so(tmp_path, detector_file):
    root = tmp_path / "archive"
    for number in (1, 2, 3):
        write_study(root, number, lesion=number > 1)
    rows = f"{uid(1)},normal,\n{uid(2)},normal,2\n{uid(3)},abnormal,4\n"
    table = write_labels(tmp_path / "l.csv", rows, "StudyInstanceUID,label,slice")
    bags, notes = unseen_bags(StudyOptions([root], table), read(detector_file), Watcher())
    assert sorted((bag.row.line, bag.label) for bag in bags) == [(2, 0), (4, 1)]
    assert notes == ["1 studies of which only normal slices are named"]
