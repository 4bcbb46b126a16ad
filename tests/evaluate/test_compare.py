"""Differences of detectors on the same slices."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medscan.evaluate import Comparison, clustering, compare, pair_tables
from medscan.evaluate.figures import figures
from medscan.metrics import delong_p_value
from medscan.normals import Calibration

KNOWN = Calibration((0.1, 0.2, 0.3), 0.5, 0.05, True, 0.0, 1.0)


@pytest.fixture(scope="module")
def scores():
    """Two detectors that agree on most of 30 patients with two slices each."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.permutation([0, 1] * 15), 2)
    shared = rng.normal(size=60) + labels
    pair = [shared + rng.normal(size=60) * 0.3, shared + rng.normal(size=60) * 0.6]
    return labels, [1 / (1 + np.exp(-one)) for one in pair]


@pytest.fixture
def measure(handmade):
    def made(labels, scores, calibration=KNOWN, maps=None):
        flat = np.zeros((1, 4, 4))
        rows = [
            (label, np.eye(4) if maps and label else None, [score], maps[n] if maps else flat)
            for n, (label, score) in enumerate(zip(labels, scores, strict=True))
        ]
        studies = [f"p{n // 2}" for n in range(len(rows))]
        return figures(handmade(rows, studies=studies), calibration, patch=1, draws=0)

    return made


def by_figure(pair):
    return {(d.level, d.figure): d for d in pair.differences}


def test_differences_are_those_of_redrawn_patients(scores, measure):
    labels, both = scores
    [pair] = compare([measure(labels, one) for one in both], draws=50, seed=3)
    assert (pair.first, pair.second) == (0, 1)
    found = by_figure(pair)
    area = found["slices", "auroc"]
    assert area.value.value == pytest.approx(
        roc_auc_score(labels, both[0]) - roc_auc_score(labels, both[1])
    )
    names = sorted(f"p{n}" for n in range(30))  # the order in which patients are drawn
    rng, drawn = np.random.default_rng(3), []
    for _ in range(50):
        numbers = [int(names[i][1:]) for i in rng.integers(30, size=30)]
        items = np.array([2 * n + k for n in numbers for k in (0, 1)])
        areas = [roc_auc_score(labels[items], one[items]) for one in both]
        drawn.append(areas[0] - areas[1])
    ends = np.quantile(drawn, [0.025, 0.975])
    assert (area.value.low, area.value.high) == pytest.approx(ends)
    assert area.p_value == pytest.approx(delong_p_value(labels, *both))
    rates = [np.mean(one[labels == 1] >= 0.5) for one in both]
    assert found["slices", "sensitivity"].value.value == pytest.approx(rates[0] - rates[1])
    rates = [np.mean(one[labels == 0] < 0.5) for one in both]
    assert found["slices", "specificity"].value.value == pytest.approx(rates[0] - rates[1])
    assert math.isnan(found["slices", "sensitivity"].p_value)
    assert ("studies", "auroc") in found
    assert ("pixels", "auroc") not in found


def test_a_paired_interval_is_narrower_than_an_unpaired_one(scores, measure):
    labels, both = scores
    evaluations = [measure(labels, one) for one in both]
    paired = by_figure(compare(evaluations, draws=80)[0])["slices", "auroc"].value
    order = np.argsort(labels, kind="stable")
    rolled = np.empty(60)  # the second detector's scores at other patients of the same label
    for label in (0, 1):
        mine = order[labels[order] == label]
        rolled[mine] = both[1][np.roll(mine, 11)]
    apart = by_figure(compare([evaluations[0], measure(labels, rolled)], draws=80)[0])
    unpaired = apart["slices", "auroc"].value
    assert unpaired.value == pytest.approx(paired.value)
    assert unpaired.high - unpaired.low > 1.5 * (paired.high - paired.low)


def test_maps_are_compared_too(scores, measure):
    labels, both = scores
    rng = np.random.default_rng(1)
    noise = [rng.random((1, 4, 4)) for _ in labels]
    better = [one + label * np.eye(4) for one, label in zip(noise, labels, strict=True)]
    evaluations = [measure(labels, both[0], maps=maps) for maps in (better, noise)]
    found = by_figure(compare(evaluations, draws=50)[0])
    for name in ("auroc", "aupro"):
        gap = found["pixels", name].value
        known = [getattr(e.pixels, name).value for e in evaluations]
        assert gap.value == pytest.approx(known[0] - known[1])
        assert 0 < gap.low < gap.value < gap.high
    known = [e.lesions.mean.value for e in evaluations]
    assert found["lesions", "found"].value.value == pytest.approx(known[0] - known[1])


def test_the_same_detector_twice_does_not_differ(scores, measure):
    labels, both = scores
    one = measure(labels, both[0])
    [pair] = compare([one, one], draws=20)
    assert {(d.value.value, d.value.low, d.value.high) for d in pair.differences} == {(0, 0, 0)}
    assert by_figure(pair)["slices", "auroc"].p_value == 1


def test_every_pair_of_three(scores, measure):
    labels, both = scores
    three = [measure(labels, one) for one in (*both, both[0] + both[1])]
    pairs = compare(three, draws=5)
    assert [(p.first, p.second) for p in pairs] == [(0, 1), (0, 2), (1, 2)]


def test_other_slices_are_refused(scores, measure):
    labels, both = scores
    with pytest.raises(ValueError, match="same slices"):
        compare([measure(labels, both[0]), measure(labels[:-2], both[1][:-2])])


def compared(evaluations, draws=5):
    detectors = tuple(SimpleNamespace(name=name) for name in "ab")
    return Comparison(detectors, tuple(evaluations), compare(evaluations, draws))


def test_what_is_unknown_is_left_out(scores, measure):
    labels, both = scores
    uncalibrated = Calibration((), math.nan, 0.05, True, 0.0, 1.0)
    evaluations = measure(labels, both[0]), measure(labels, both[1], uncalibrated)
    [(title, table)] = pair_tables(compared(evaluations))
    assert title == "a minus b"
    assert [row[0] for row in table[1:]] == ["slices: AUROC", "studies: AUROC"]
    assert all(cell[0] in "+-" for cell in table[1][1:4])
    assert float(table[1][4]) == pytest.approx(delong_p_value(labels, *both), abs=5e-4)


def test_clusters_are_warned_of(scores, measure):
    labels, both = scores
    evaluations = [measure(labels, one) for one in both]
    assert clustering(compared(evaluations)).startswith("30 of 30 patients have several images")
    rows = [row._replace(patient=str(n)) for n, row in enumerate(evaluations[0].rows)]
    alone = [replace(one, rows=tuple(rows)) for one in evaluations]
    assert clustering(compared(alone)) == ""
    assert clustering(replace(compared(evaluations), pairs=())) == ""
