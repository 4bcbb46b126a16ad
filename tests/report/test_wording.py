import pytest

from medscan.report.cards import cards_of
from medscan.report.wording import compare_with_normals
from tests.report import make

NAN = float("nan")


@pytest.mark.parametrize(
    ("score", "percentile", "words"),
    [
        (0.51, 100.0, "above all 5 normals"),
        (0.5, 100.0, "above all normals"),  # of the simulated series only
        (0.49, 99.95, "above 99.9 % of normals"),
        (0.45, 80.0, "above 80.0 % of normals"),
        (0.05, 0.0, "above 0.0 % of normals"),
        (0.9, NAN, "no normals to compare with"),
    ],
)
def test_a_score_is_compared_with_the_normals(score, percentile, words):
    (card,) = cards_of([make.run()]).values()
    assert compare_with_normals(score, percentile, card) == words


def test_normals_are_counted_only_where_the_file_holds_them():
    (card,) = cards_of([make.run(detectors=[make.DETECTOR | {"normals": []}])]).values()
    assert compare_with_normals(0.9, 100.0, card) == "above all normals"
    assert compare_with_normals(0.9, 100.0, None) == "above all normals"
