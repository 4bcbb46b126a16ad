"""One order for the studies of all detectors: by their own normals, whatever else is listed."""

import dataclasses
import math

import numpy as np
import pytest

from medscan.report.standing import Standing, normals_by_detector, place
from medscan.report.wording import compare_with_normals
from medscan.report.worklist import rank
from medscan.results import State
from tests.report import make

PROBABILITIES = make.DETECTOR | {"normals": [0.1, 0.2, 0.3, 0.4, 0.5]}
OTHER = PROBABILITIES | {"name": "chest", "hash": "c" * 64, "normals": [0.02, 0.03, 0.05, 0.1]}
DISTANCES = PROBABILITIES | {
    "name": "patches",
    "hash": "e" * 64,
    "method": "patchcore",
    "normals": [30.0, 40.0, 50.0, 60.0, 80.0],
}
UNCALIBRATED = PROBABILITIES | {"name": "bare", "hash": "f" * 64, "normals": []}


def stack(score, detector=PROBABILITIES, key="s1", slices=1, **changes):
    """A stack of normal slices but for the highest, unless flagged by `threshold`."""
    info = {"detector": detector["name"], "detector_hash": detector["hash"], "threshold": 1e6}
    made = make.stack(key, 0.3, slices, pictures=0, **info | changes)
    made.state[:] = State.SCORED
    made.slice_score[:] = score
    unknown = not detector["normals"]
    return dataclasses.replace(made, score=score, percentile=math.nan if unknown else 80.0)


def listed(folder, studies, *detectors, name="results.h5"):
    """Keys of the studies in the order of their worklist."""
    run = make.run(detectors=list(detectors))
    return [row.study.key for row in rank([make.results(folder, studies, run, name)])]


STUDIES = [
    make.study("a", [stack(0.45)]),
    make.study("b", [stack(0.9)]),
    make.study("c", [stack(0.2, OTHER)]),
    make.study("d", [stack(0.04, OTHER)]),
    make.study("e", [stack(0.95, OTHER)]),
    make.study("f", [stack(0.55), stack(0.3, OTHER, "s2")]),
]


def test_scores_are_compared_by_the_normals_of_their_detector(tmp_path):
    order = listed(tmp_path, STUDIES, PROBABILITIES, OTHER)
    assert order.index("c") < order.index("a")  # 0.2 is far from the chest's normals
    assert order.index("e") < order.index("b")
    assert order[-1] == "d"


def test_a_detector_with_unbounded_scores_changes_no_other_order(tmp_path):
    order = listed(tmp_path, STUDIES, PROBABILITIES, OTHER)
    distances = [make.study(f"x{s}", [stack(s, DISTANCES)]) for s in (35.0, 55.0, 85.0, 900.0)]
    mixed = listed(tmp_path, STUDIES + distances, PROBABILITIES, OTHER, DISTANCES, name="m.h5")
    assert [key for key in mixed if key in order] == order
    assert [key for key in mixed if key not in order] == ["x900.0", "x85.0", "x55.0", "x35.0"]
    assert mixed.index("x35.0") > mixed.index("b")  # 35 is no more than its normals have
    assert mixed.index("x55.0") > mixed.index("a") > mixed.index("x85.0")


def test_the_unit_of_a_detector_changes_no_order(tmp_path):
    scores = (35.0, 55.0, 85.0, 900.0)
    small = DISTANCES | {"normals": [n / 1e4 for n in DISTANCES["normals"]]}
    nights = [
        [*STUDIES, *(make.study(f"x{s}", [stack(s / unit, DISTANCES)]) for s in scores)]
        for unit in (1, 1e4)
    ]
    plain = listed(tmp_path, nights[0], PROBABILITIES, OTHER, DISTANCES, name="1.h5")
    assert listed(tmp_path, nights[1], PROBABILITIES, OTHER, small, name="2.h5") == plain


def test_flagged_studies_come_first(tmp_path):
    studies = [make.study("a", [stack(0.9)]), make.study("b", [stack(0.4, threshold=0.35)])]
    assert listed(tmp_path, studies, PROBABILITIES) == ["b", "a"]


def test_a_place_is_the_same_every_night(tmp_path):
    alone = {}
    for study in STUDIES:
        name, run = f"{study.key}.h5", make.run(detectors=[PROBABILITIES, OTHER])
        file = make.results(tmp_path, [study], run, name)
        (row,) = rank([file])
        alone[study.key] = row.place.study
    file = make.results(tmp_path, STUDIES, make.run(detectors=[OTHER, PROBABILITIES]))
    assert {row.study.key: row.place.study for row in rank([file])} == alone


@pytest.mark.parametrize("slices", [1, 30])
def test_more_series_are_no_more_abnormal_by_themselves(slices):
    """Shares of normal studies have the same distribution with one stack as with twelve."""
    rng = np.random.default_rng(11)
    detector = DISTANCES | {"normals": (-np.log(1 - np.arange(0.5, 3000) / 3000)).tolist()}
    normals = normals_by_detector([make.run(detectors=[detector])])
    draws, top = 300, math.ceil(0.05 * slices)
    series = [stack(1.0, detector, f"s{n}", slices) for n in range(12)]

    def shares(stacks):
        found = []
        for _ in range(draws):
            scores = np.sort(rng.exponential(size=(stacks, slices)))[:, -top:].mean(axis=1)
            drawn = zip(series[:stacks], scores.tolist(), strict=True)
            study = make.study("a", [dataclasses.replace(s, score=score) for s, score in drawn])
            found.append(place(study, normals).study)
        return np.array([[math.exp(f.log_share), f.expected] for f in found])

    for found in (shares(1), shares(12)):
        for share in (0.05, 0.1, 0.25, 0.5, 0.75):
            spread = 3.5 * math.sqrt(share * (1 - share) / draws)
            assert np.all(np.abs(np.mean(found <= share, axis=0) - share) < spread)


def test_every_series_and_detector_is_a_chance():
    normals = normals_by_detector([make.run(detectors=[PROBABILITIES, OTHER])])
    one = place(make.study("a", [stack(0.45)]), normals).study
    two = place(make.study("a", [stack(0.45), stack(0.1, key="s2")]), normals).study
    both = place(make.study("a", [stack(0.45), stack(0.01, OTHER, "s2")]), normals).study
    long = place(make.study("a", [stack(0.45, slices=2)]), normals).study
    share = 2 / 6
    assert one.expected == pytest.approx(share)
    for found in (two, both, long):
        assert found.expected == pytest.approx(1 - (1 - share) ** 2)
        assert found.log_share == pytest.approx(two.log_share)


def test_the_most_abnormal_stack_is_not_that_of_the_highest_score():
    normals = normals_by_detector([make.run(detectors=[PROBABILITIES, DISTANCES])])
    series = [stack(45.0, DISTANCES, "s1"), stack(0.9, key="s2"), stack(0.1, key="s3")]
    found = place(make.study("a", series), normals)
    assert found.worst.key == "s2"
    assert [s.key for s in found.sorted(series)] == ["s2", "s1", "s3"]


def test_a_flagged_study_is_shown_for_what_it_was_flagged_for():
    normals = normals_by_detector([make.run(detectors=[PROBABILITIES, OTHER])])
    series = [stack(0.99), stack(0.06, OTHER, "s2", threshold=0.05), stack(0.3, key="s3")]
    found = place(make.study("a", series), normals)
    assert found.worst.key == "s2"
    assert found.study.expected == pytest.approx(1 - (1 - 2 / 5) ** 2)
    assert [s.key for s in found.sorted(series)] == ["s2", "s1", "s3"]


def test_without_normals_the_percentile_of_the_scan_counts(tmp_path):
    bare = make.study("a", [stack(0.9, UNCALIBRATED)])
    older = make.study("b", [dataclasses.replace(bare.stacks[0], percentile=99.0)])
    run = make.run(detectors=[UNCALIBRATED])
    first, last = rank([make.results(tmp_path, [bare, older], run)])
    assert (first.study.key, last.study.key) == ("b", "a")
    assert first.place.study.expected == pytest.approx(0.01)
    words = "more abnormal than 99.0 % of normals (expect 1 in 100 normal studies here)"
    assert compare_with_normals(first.place.study) == words
    assert compare_with_normals(last.place.study) == "no normals to compare with"


def test_what_cannot_be_compared_comes_last_by_detector_then_score(tmp_path):
    second = UNCALIBRATED | {"name": "zero", "hash": "9" * 64}
    studies = [
        make.study("a", [stack(0.1)]),
        make.study("b", [stack(0.5, UNCALIBRATED)]),
        make.study("c", [stack(70.0, second)]),
        make.study("d", [stack(0.7, UNCALIBRATED)]),
        make.study("e"),
    ]
    assert listed(tmp_path, studies, PROBABILITIES, UNCALIBRATED, second) == [*"adbce"]


def test_a_study_that_is_partly_compared_ranks_by_that_part():
    normals = normals_by_detector([make.run(detectors=[PROBABILITIES, UNCALIBRATED])])
    series = [stack(0.99, UNCALIBRATED), stack(0.45, key="s2")]
    found = place(make.study("a", series), normals)
    assert found.worst.key == "s2"
    assert found.study == place(make.study("a", series[1:]), normals).study


def test_nothing_scored_has_no_place():
    assert place(make.study("a"), {}).study == Standing()
    assert not place(make.study("a"), {}).study.compared
