import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medscan import detector
from medscan.archive import BURNED_IN, ArchiveFile, Frame, Kind, Pseudonyms, Series, Stack
from medscan.gate import Gate
from medscan.normals import Calibration
from medscan.scoring import (
    StackBuilder,
    aggregate,
    stack_calibration,
    stack_scores,
    thumbnail_policy,
)


@given(arrays(np.float32, st.integers(1, 200), elements=st.floats(-5, 5, width=32)))
def test_the_rule_is_the_mean_of_the_top_five_percent(scores):
    count = max(1, math.ceil(0.05 * len(scores)))
    wanted = np.mean(sorted(scores.astype(float))[-count:])
    assert aggregate(scores) == pytest.approx(wanted)
    with_gaps = np.concatenate([scores, np.full(7, np.nan, np.float32)])
    assert aggregate(with_gaps) == aggregate(scores)


def test_nothing_scored_is_no_score():
    assert math.isnan(aggregate(np.full(3, np.nan, np.float32)))


def test_burned_in_text_is_not_kept():
    plain = Stack("k", Kind.DICOM, (), 2, 2)
    assert thumbnail_policy("MR", plain, wanted=True) == "kept"
    assert "burned-in" in thumbnail_policy("US", plain, wanted=True)
    assert "burned-in" in thumbnail_policy("MR", replace(plain, notes=(BURNED_IN,)), wanted=True)
    assert "burned-in" in thumbnail_policy("", replace(plain, kind=Kind.PICTURE), wanted=True)
    assert thumbnail_policy("MR", plain, wanted=False) == "not asked for"
    assert thumbnail_policy("US", plain, wanted=True, burned_in=True) == "kept"
    assert thumbnail_policy("US", plain, wanted=False, burned_in=True) == "not asked for"


SLICES = Calibration(tuple(np.linspace(0, 1, 400)), 0.9501, 0.05, False, 0, 1)


def test_one_slice_is_calibrated_as_a_slice():
    assert stack_calibration(SLICES, 1) is SLICES


@pytest.mark.parametrize("count", [1, 2, 4])
def test_stacks_of_few_normals_are_flagged_no_more_often_than_asked(count):
    """A quantile of as few normals, without what lies beyond them, is too low."""
    rng = np.random.default_rng(5)
    flagged = []
    for _ in range(400):
        plain = Calibration(tuple(np.sort(rng.random(16)).tolist()), 0.0, 0.2, False, 0, 1)
        limit = stack_calibration(plain.at_rate(0.2), count).threshold
        flagged.append(np.mean(rng.random((100, count)).max(1) >= limit))
    assert 0.1 < np.mean(flagged) < 0.21


@pytest.mark.parametrize("count", [1, 5, 20, 60, 200])
def test_normal_stacks_are_flagged_at_the_target_rate(count):
    rng = np.random.default_rng(3)
    calibration = stack_calibration(SLICES, count)
    scores = [aggregate(rng.random(count).astype(np.float32)) for _ in range(1000)]
    assert np.mean(np.array(scores) >= calibration.threshold) < 0.09
    assert abs(np.median([calibration.percentile(s) for s in scores]) - 50) < 8


def test_long_stacks_need_many_normals():
    few = Calibration(tuple(np.linspace(0, 1, 20)), 1.0, 0.05, False, 0, 1)
    assert not stack_calibration(few, 1).provisional
    assert stack_calibration(few, 20).provisional
    nothing = Calibration((), math.nan, 0.05, True, 0, 1)
    assert stack_calibration(nothing, 5) is nothing


def walks(rng, stacks, slices):
    """Scores of stacks whose neighbouring slices resemble one another."""
    patient, noise = rng.normal(size=(stacks, 1)), rng.normal(size=(stacks, slices))
    smooth = np.apply_along_axis(np.convolve, 1, noise, np.ones(5) / 5, "same")
    return (patient + smooth).astype(np.float32)


@pytest.mark.parametrize("count", [6, 30, 60])
@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_whole_normal_stacks_keep_their_dependence(count, rate):
    """Independent draws of the same slices would flag hardly any of them."""
    rng = np.random.default_rng(0)
    whole, flagged, independent = walks(rng, 2000, 30), [], []
    for known in np.split(whole[:1000], 10):
        slices = tuple(sorted(known.ravel().tolist()))
        plain = Calibration(slices, 0.0, rate, False, 0, 1)
        stacks = replace(plain, stacks=tuple(map(tuple, known.tolist())))
        new = np.array(stack_scores(whole[1000:].tolist(), count))
        flagged.append(np.mean(new >= stack_calibration(stacks, count).threshold))
        independent.append(np.mean(new >= stack_calibration(plain, count).threshold))
    assert np.mean(flagged) == pytest.approx(rate, abs=0.02)
    assert np.mean(independent) < 0.8 * rate


def test_a_stack_of_one_slice_is_a_slice():
    stacks = replace(SLICES, stacks=((5.0, 5.0),) * 30)
    assert stack_calibration(stacks, 1) is stacks


@pytest.mark.parametrize(("stacks", "provisional"), [(18, True), (19, False)])
def test_stacks_are_provisional_only_where_they_are_too_few(stacks, provisional):
    known = replace(SLICES, stacks=((0.1, 0.2, 0.3),) * stacks)
    assert stack_calibration(known, 60).provisional is provisional


def test_a_stack_can_be_cut_into_more_or_fewer_slices():
    stacks = [(0.0, 1.0, 2.0, 3.0), (9.0,)]
    assert stack_scores(stacks, 2) == (3.0, 9.0)
    assert stack_scores(stacks, 8) == (3.0, 9.0)
    assert stack_scores(stacks, 1) == (2.0, 9.0)


@pytest.mark.parametrize(("distance", "unlike"), [(0.5, False), (2.5, True), (math.nan, True)])
def test_a_distance_that_is_no_number_is_no_proof_of_likeness(detector_file, distance, unlike):
    gated = replace(detector.read(detector_file), gate=Gate(2.0, 0.05, False, (1.0,)))
    frame = Frame(ArchiveFile("x.dcm", Path("/a"), 1, 1), 0)
    stack = Stack("k", Kind.DICOM, (frame,), 64, 64)
    series = Series("1.2", "MR", "BRAIN", "", (stack,))
    builder = StackBuilder(series, stack, gated, 64, 4, 16, "not asked for")
    builder.add_score(0, 0.5, np.zeros((4, 4), np.float16), distance)
    assert bool(builder.result(0.0, Pseudonyms(b"key")).unlike) == unlike
