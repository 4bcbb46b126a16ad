import math

import pytest

from medscan.report.standing import Standing
from medscan.report.wording import compare_with_normals


def standing(expected, below=0, normals=0, percentile=math.nan):
    return Standing(math.log(expected), expected, below, normals, percentile)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (standing(0.05, 59, 60), "59 of 60 normals (expect 1 in 20 normal studies here)"),
        (standing(0.1, 9, 9), "all 9 normals (expect 1 in 10 normal studies here)"),
        (standing(0.0339, 58, 60), "58 of 60 normals (expect 1 in 29 normal studies here)"),
        (standing(0.5, 30, 60), "30 of 60 normals (expect 1 in 2 normal studies here)"),
        (standing(0.9, 3, 60), "3 of 60 normals (expect most normal studies here)"),
        (standing(1.0, 0, 60), "0 of 60 normals (expect most normal studies here)"),
        (standing(0.2, percentile=80.0), "80.0 % of normals (expect 1 in 5 normal studies here)"),
        (standing(0.2, percentile=99.96), "99.9 % of normals (expect 1 in 5 normal studies here)"),
        (standing(0.01, percentile=100.0), "all normals (expect 1 in 100 normal studies here)"),
    ],
)  # fmt: skip
def test_a_place_among_normals_in_words(place, words):
    assert compare_with_normals(place) == f"more abnormal than {words}"


def test_series_are_compared_with_series():
    words = compare_with_normals(standing(0.05, 59, 60), "series")
    assert words == "more abnormal than 59 of 60 normals (expect 1 in 20 normal series here)"


def test_without_normals_nothing_is_claimed():
    assert compare_with_normals(Standing()) == "no normals to compare with"


def test_what_no_count_can_tell_is_fewer():
    beyond = Standing(math.log(1e-9), 1 / 61, 60, 60)
    words = "more abnormal than all 60 normals (expect fewer than 1 in 61 normal studies here)"
    assert compare_with_normals(beyond) == words
