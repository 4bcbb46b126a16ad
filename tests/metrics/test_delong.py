"""DeLong's test against its definition, on any scores and on the data of its paper."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from medscan.metrics import auroc, delong, delong_p_value

# 43 patients with ovarian cancer: albumin, total protein, Krebs-Goplerud score, and 1 where surgery
# helped. Data of DeLong et al. (1988), as SAS/STAT lists them for PROC LOGISTIC, "Comparing
# Receiver Operating Characteristic Curves".
OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
1.6 5.6 5 1  3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
3.6 6.6 5 1
"""


def by_definition(labels, scores):
    """Areas and covariance from all pairs of an abnormal and a normal image."""
    labels, above, below = np.asarray(labels), [], []
    for row in np.asarray(scores, float):
        pairs = (np.sign(row[labels == 1][:, None] - row[labels == 0]) + 1) / 2
        above.append(pairs.mean(1))
        below.append(pairs.mean(0))
    m, n = len(above[0]), len(below[0])
    covariance = np.zeros((len(above),) * 2)
    for i in range(len(above)):
        for j in range(len(above)):
            first = np.sum((above[i] - above[i].mean()) * (above[j] - above[j].mean())) / (m - 1)
            second = np.sum((below[i] - below[i].mean()) * (below[j] - below[j].mean())) / (n - 1)
            covariance[i, j] = first / m + second / n
    return np.array([row.mean() for row in above]), covariance


@given(
    st.lists(
        st.tuples(st.integers(0, 1), *[st.sampled_from([0.0, 0.1, 0.3, 0.5, 2.0])] * 3),
        min_size=4,
        max_size=30,
    )
)
@settings(max_examples=60, deadline=None)
def test_midranks_give_what_the_definition_gives(rows):
    labels, *scores = np.array(rows).T
    found = delong(labels, scores)
    if min(np.sum(labels == 1), np.sum(labels == 0)) < 2:
        assert np.isnan(found[0]).all()
        assert np.isnan(found[1]).all()
        return
    known = by_definition(labels, scores)
    np.testing.assert_allclose(found[0], known[0], atol=1e-12)
    np.testing.assert_allclose(found[1], known[1], atol=1e-12)
    np.testing.assert_allclose(found[0], [auroc(labels, row) for row in scores], atol=1e-12)


def test_the_data_of_the_paper():
    albumin, protein, score, labels = np.array(OVARIAN.split(), float).reshape(-1, 4).T
    tests = [albumin, 10 - score, protein]
    areas, covariance = delong(labels, tests)
    known = by_definition(labels, tests)
    assert areas == pytest.approx(known[0], abs=1e-12)
    assert covariance == pytest.approx(known[1], abs=1e-12)
    assert areas == pytest.approx([0.7366, 0.7258, 0.6478], abs=5e-5)
    assert np.sqrt(np.diag(covariance)) == pytest.approx([0.0927, 0.1028, 0.1000], abs=5e-5)
    for test, gap, error, chi_squared in ((0, 0.0108, 0.0953, 0.0127), (2, -0.078, 0.1046, 0.5554)):
        assert areas[test] - areas[1] == pytest.approx(gap, abs=5e-5)
        variance = covariance[test, test] + covariance[1, 1] - 2 * covariance[test, 1]
        assert math.sqrt(variance) == pytest.approx(error, abs=5e-5)
        found = delong_p_value(labels, tests[test], tests[1])
        assert found == pytest.approx(stats.chi2.sf(chi_squared, 1), abs=5e-4)


def test_scores_of_the_same_order_do_not_differ():
    labels, scores = [0, 0, 1, 1, 0, 1], np.array([0.1, 0.5, 0.4, 0.8, 0.2, 0.6])
    assert delong_p_value(labels, scores, scores * 3) == 1
    assert delong_p_value(labels, labels, labels) == 1


def test_a_difference_without_spread_has_no_p_value():
    labels = np.array([0, 0, 1, 1])
    assert math.isnan(delong_p_value(labels, labels, 1 - labels))
    assert math.isnan(delong_p_value([0, 1, 1], [1, 2, 3], [3, 2, 1]))


def test_equal_detectors_are_told_apart_as_often_as_the_level_says():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    shared = rng.normal(size=(400, 80)) + labels
    found = [
        delong_p_value(labels, one + rng.normal(size=80), one + rng.normal(size=80))
        for one in shared
    ]
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.025)


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match="finite"):
        delong([0, 1, 0, 1], [[0.1, 0.2, 0.3, math.nan]])
    with pytest.raises(ValueError, match="0 or 1"):
        delong([0, 2, 0, 1], [[0.1, 0.2, 0.3, 0.4]])
