import math

import numpy as np
import pytest
from scipy.stats import binomtest, ks_2samp

from medscan.report.cards import cards_of
from medscan.report.drift import BINS, LEVEL, binomial_p, drift, drifts
from medscan.report.worklist import rank
from tests.report import make

RNG = np.random.default_rng(7)
NORMALS = np.sort(RNG.normal(0.3, 0.05, 200))


def card(normals=NORMALS):
    facts = make.DETECTOR | {"normals": list(normals)}
    return cards_of([make.run(detectors=[facts])])["d" * 64]


def stacks(mean, count=40):
    return [RNG.normal(mean, 0.05, 30) for _ in range(count)]


def test_scores_of_the_same_kind_are_not_said_to_be_alike():
    found = drift(card(), stacks(0.3), 2)
    assert found.p >= LEVEL
    assert found.sentence == (
        "2 of 40 series are flagged (5 %); of normal series about 5 % would be. No difference from "
        "the calibration's normal slices was found, which does not show that there is none."
    )
    assert (found.stacks, found.slices, found.normals) == (40, 1200, 200)


@pytest.mark.parametrize(("mean", "side"), [(0.36, "higher"), (0.24, "lower")])
def test_shifted_scores_are_said_to_be(mean, side):
    found = drift(card(), stacks(mean), 2)
    assert found.p < LEVEL
    assert f"The scores are {side} than those" in found.sentence
    assert "thresholds and percentages do not apply" in found.sentence


def test_slices_that_resemble_each_other_count_once():
    # Twelve stacks of the same kind as the normals, each of a hundred equal slices.
    alike = [np.full(100, value) for value in RNG.normal(0.3, 0.05, 12)]
    found = drift(card(), alike, 0)
    assert found.p >= LEVEL
    assert ks_2samp(np.concatenate(alike), NORMALS).pvalue < LEVEL, "all slices would cry wolf"


@pytest.mark.parametrize("found", [0, 1, 5, 13, 100])
@pytest.mark.parametrize("rate", [1e-9, 0.05, 0.5])
def test_the_chance_of_flags_is_twice_the_smaller_tail(found, rate):
    tails = [binomtest(found, 100, rate, side).pvalue for side in ("less", "greater")]
    assert binomial_p(found, 100, rate) == pytest.approx(min(1, 2 * min(tails)), rel=1e-9)


def test_flags_beyond_the_target_are_never_explained_away():
    """More flags than chance gives are a difference, also where the scores show none."""
    found = drift(card(), stacks(0.3, 18), 13)
    assert found.p >= LEVEL
    assert found.sentence.startswith(
        "13 of 18 series are flagged (72 %); of normal series about 5 % would be, a difference "
        "that chance does not explain (p < 0.001). Either there are more abnormal studies"
    )
    assert "No difference" not in found.sentence
    assert "chance" not in drift(card(), stacks(0.3, 18), 1).sentence


@pytest.mark.parametrize("seed", range(20))
def test_no_sentence_reassures_beside_a_small_p(seed):
    rng = np.random.default_rng(seed)
    scores = [rng.normal(0.3 + 0.004 * seed, 0.05, 5) for _ in range(18)]
    found = drift(card(), scores, 1)
    assert ("No difference" in found.sentence) == (found.p >= LEVEL)
    assert ("do not apply" in found.sentence) == (found.p < LEVEL)


def test_too_little_is_not_compared():
    found = drift(card(), stacks(0.9, 3), 0)
    assert math.isnan(found.p)
    assert found.sentence.endswith("would be. Too few series (3) to compare their scores.")
    found = drift(card(NORMALS[:4]), stacks(0.9, 30), 2)
    assert "Too few normal slices of the calibration (4) to compare" in found.sentence
    assert drift(card([]), stacks(0.9, 30), 0).theirs == ""


def test_the_drawing_holds_all_scores():
    found = drift(card(), stacks(0.36), 3)
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
    assert [(d.flagged, d.stacks) for d in found] == [(1, 1), (1, 1)]
