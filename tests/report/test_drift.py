import math

import numpy as np
import pytest
from scipy.stats import ks_2samp

from medscan.report.cards import cards_of
from medscan.report.drift import BINS, drift, drifts
from medscan.report.worklist import rank
from tests.report import make

RNG = np.random.default_rng(7)
NORMALS = np.sort(RNG.normal(0.3, 0.05, 200))


def card(normals=NORMALS):
    facts = make.DETECTOR | {"normals": list(normals)}
    return cards_of([make.run(detectors=[facts])])["d" * 64]


def stacks(mean, count=40):
    return [RNG.normal(mean, 0.05, 30) for _ in range(count)]


def test_scores_of_the_same_kind_do_not_differ():
    found = drift(card(), stacks(0.3))
    assert found.p >= 0.01
    assert "no more than chance explains" in found.sentence
    assert (found.stacks, found.slices, found.normals) == (40, 1200, 200)


@pytest.mark.parametrize(("mean", "side"), [(0.36, "higher"), (0.24, "lower")])
def test_shifted_scores_are_said_to_be(mean, side):
    found = drift(card(), stacks(mean))
    assert found.p < 0.01
    assert f"The scores are {side} than those" in found.sentence
    assert "thresholds and percentages do not apply" in found.sentence


def test_slices_that_resemble_each_other_count_once():
    # Twelve stacks of the same kind as the normals, each of a hundred equal slices.
    alike = [np.full(100, value) for value in RNG.normal(0.3, 0.05, 12)]
    found = drift(card(), alike)
    assert found.p >= 0.01
    assert ks_2samp(np.concatenate(alike), NORMALS).pvalue < 0.01, "all slices would cry wolf"


def test_too_little_is_not_compared():
    found = drift(card(), stacks(0.9, 3))
    assert math.isnan(found.p)
    assert found.sentence == "Too few series (3) to compare."
    found = drift(card(NORMALS[:4]), stacks(0.9, 30))
    assert found.sentence == "Too few normal slices of the calibration (4) to compare."
    assert drift(card([]), stacks(0.9, 30)).theirs == ""


def test_the_drawing_holds_all_scores():
    found = drift(card(), stacks(0.36))
    assert found.ours.count("H") == found.theirs.count("H") == BINS
    assert found.low < NORMALS[0] + 1e-9
    assert math.isnan(found.limit) or 0 <= found.limit <= 1


def test_detectors_are_told_apart(tmp_path):
    other = make.DETECTOR | {"hash": "e" * 64, "name": "a-chest"}
    studies = [
        make.study("aaa", [make.stack("s1", 0.9), make.stack("s2", detector_hash="e" * 64)]),
        make.study("bbb", [make.stack("s1", 0.4, detector_hash="f" * 64)]),
    ]
    info = make.run(detectors=[make.DETECTOR, other])
    results = make.results(tmp_path, studies, info)
    found = drifts(rank([results]), cards_of([info]))
    assert [d.card.facts["name"] for d in found] == ["a-chest", "brain-flair"]
    assert [d.slices for d in found] == [22, 22]
