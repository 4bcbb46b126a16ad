"""Figures of images against scikit-learn, a brute-force oracle and numbers from published code."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import f1_score

from medscan import metrics

LABELS = [0, 0, 1, 1, 0, 1, 0, 1]
IMAGE_CASES = [
    (LABELS, [0.1, 0.35, 0.4, 0.8, 0.5, 0.2, 0.05, 0.9], 0.8125, 0.8541666666666666),
    (LABELS, [0.1, 0.4, 0.4, 0.8, 0.4, 0.2, 0.1, 0.8], 0.8125, 0.8166666666666667),
    ([0, 1, 0, 1], [0.5] * 4, 0.5, 0.5),
    ([0, 0, 1], [0.1, 0.2, 0.3], 1.0, 1.0),
    ([1, 0, 0, 0], [0.1, 0.2, 0.3, 0.4], 0.0, 0.25),
]
classes_and_scores = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.int64, n, elements=st.integers(0, 1)),
        hnp.arrays(np.float32, n, elements=st.sampled_from([-1.0, 0.0, 0.1, 0.25, 0.5, 2.0])),
    )
)


@pytest.mark.parametrize(("labels", "scores", "area", "precision"), IMAGE_CASES)
def test_image_figures_equal_the_published_numbers(labels, scores, area, precision):
    assert metrics.auroc(labels, scores) == pytest.approx(area, abs=1e-12)
    assert metrics.average_precision(labels, scores) == pytest.approx(precision, abs=1e-12)


@given(classes_and_scores)
@settings(max_examples=60, deadline=None)
def test_image_figures_equal_brute_force(case):
    labels, scores = case
    best, threshold = metrics.f1_max(labels, scores)
    if len(set(labels.tolist())) < 2:
        assert np.isnan([metrics.auroc(*case), metrics.average_precision(*case), best]).all()
        return
    difference = scores[labels == 1][:, None] - scores[labels == 0]
    assert metrics.auroc(*case) == pytest.approx(np.mean((np.sign(difference) + 1) / 2))
    f1 = {float(t): f1_score(labels, scores >= t) for t in np.unique(scores)}
    assert best == pytest.approx(max(f1.values()))
    assert f1[threshold] == pytest.approx(best)


@given(classes_and_scores, st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_weighted_areas_are_those_of_repeated_items(case, seed):
    labels, scores = case
    weights = np.random.default_rng(seed).integers(0, 3, (3, len(labels)))
    found = metrics.weighted_auroc(labels, scores, weights)
    known = [metrics.auroc(np.repeat(labels, w), np.repeat(scores, w)) for w in weights]
    np.testing.assert_allclose(found, known, atol=1e-12)


def test_a_score_at_the_threshold_is_flagged():
    labels, scores = [0, 0, 0, 1, 1], [0.1, 0.5, 0.4, 0.5, 0.4]
    assert metrics.sensitivity_at(labels, scores, 0.5) == 0.5
    assert metrics.specificity_at(labels, scores, 0.5) == pytest.approx(2 / 3)
    assert metrics.sensitivity_at(labels, scores, math.inf) == 0
    assert math.isnan(metrics.sensitivity_at(labels, scores, math.nan))
    assert math.isnan(metrics.specificity_at(labels, scores, math.nan))
    assert math.isnan(metrics.sensitivity_at([0, 0], [0.1, 0.2], 0.5))
    assert math.isnan(metrics.specificity_at([1], [0.1], 0.5))


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.1, math.nan], "finite"),
        ([0, 1], [0.1, math.inf], "finite"),
        ([0, 2], [0.1, 0.2], "0 or 1"),
        ([0, 1, 1], [0.1, 0.2], "shape"),
        ([[0, 1]], [[0.1, 0.2]], "shape"),
    ],
)
def test_what_cannot_be_scored_is_refused(labels, scores, message):
    for figure in (metrics.auroc, metrics.average_precision, metrics.f1_max):
        with pytest.raises(ValueError, match=message):
            figure(labels, scores)


def test_calibration_error_by_hand_and_at_its_ends():
    # p-values: 0.35 -> (1 + 1) / 4, 0.05 -> (1 + 3) / 4; quantiles 0.25 and 0.75.
    assert metrics.calibration_error([0.35, 0.05], [0.1, 0.2, 0.4]) == pytest.approx(0.25)
    known = np.linspace(0, 1, 999)
    assert metrics.calibration_error(known, known) < 2e-3
    assert metrics.calibration_error(known + 2, known) == pytest.approx(0.5, abs=2e-3)
    assert metrics.calibration_error(known - 2, known) == pytest.approx(0.5, abs=2e-3)
    assert math.isnan(metrics.calibration_error([], known))
    assert math.isnan(metrics.calibration_error(known, []))


def test_calibration_error_by_chance_is_what_its_docstring_says():
    rng = np.random.default_rng(0)
    errors = [metrics.calibration_error(rng.random(80), rng.random(120)) for _ in range(400)]
    assert np.mean(errors) == pytest.approx(0.31 * math.sqrt(1 / 80 + 1 / 120), rel=0.1)


def _slices(patients, each, seed=0):
    rng = np.random.default_rng(seed)
    names = np.repeat([f"p{n}" for n in range(patients)], each)
    labels = np.repeat(rng.integers(0, 2, patients), each)
    return labels, np.repeat(rng.normal(size=patients), each) + labels, names


def test_bootstrap_is_decided_by_its_seed_and_not_by_order():
    labels, scores, names = _slices(30, 2)
    first = metrics.image_figures(labels, scores, names, draws=50)
    assert repr(first) == repr(metrics.image_figures(labels, scores, names, draws=50))
    turned = metrics.image_figures(labels[::-1], scores[::-1], names[::-1], draws=50)
    assert turned.auroc.low == pytest.approx(first.auroc.low, abs=1e-12)
    other = metrics.image_figures(labels, scores, names, draws=50, seed=1)
    assert other.auroc.value == first.auroc.value
    assert other.auroc.low != first.auroc.low
    assert (first.patients, first.normals + first.abnormals) == (30, 60)
    assert first.auroc.low < first.auroc.value < first.auroc.high


def test_by_patient_is_wider_than_by_slice_when_slices_repeat():
    labels, scores, names = _slices(30, 8)
    statistic = lambda i: metrics.auroc(labels[i], scores[i])  # noqa: E731
    by_patient = metrics.bootstrap(names, statistic, draws=200)
    by_slice = metrics.bootstrap(np.arange(len(names)), statistic, draws=200)
    assert by_patient[1] - by_patient[0] > 1.8 * (by_slice[1] - by_slice[0])


def test_bootstrap_interval_of_a_mean_is_the_textbook_one():
    values = np.random.default_rng(0).normal(size=400)
    low, high = metrics.bootstrap(np.arange(400), lambda i: values[i].mean(), draws=1000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_draws_without_both_classes_are_dropped():
    labels, scores = np.array([1, 0, 0]), np.array([0.9, 0.1, 0.2])
    figures = metrics.image_figures(labels, scores, [1, 2, 3], draws=100)
    assert (figures.auroc.low, figures.auroc.high) == (1.0, 1.0)
    lonely = metrics.image_figures(labels, scores, ["one"] * 3, draws=100)
    assert lonely.auroc.value == 1.0
    assert math.isnan(lonely.auroc.low)
    normals = metrics.image_figures([0, 0], [0.1, 0.2], [1, 2], draws=10, threshold=0.15)
    assert np.isnan([normals.auroc.value, normals.auroc.high, normals.sensitivity.low]).all()
    assert normals.specificity.value == 0.5
    with pytest.raises(ValueError, match="patients"):
        metrics.image_figures([0, 1], [0.1, 0.2], ["one"])
