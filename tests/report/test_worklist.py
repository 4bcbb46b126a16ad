import dataclasses

import numpy as np
import pytest

from medscan.report import ReportOptions, write_report
from medscan.report.cards import cards_of
from medscan.report.run import run_view
from medscan.report.wording import flag_of, notes_of
from medscan.report.worklist import Change, compare, featured, rank
from medscan.results import State
from tests.report import make
from tests.report.markup import Page


def one(key, score, **info):
    return make.study(key, [make.stack("s1", score, 6, **info)])


def test_a_study_in_two_files_is_listed_once_as_it_was_last(tmp_path):
    new = make.results(tmp_path, [one("aaa", 0.9)], make.run(created="2026-02-01"), name="1.h5")
    old = make.results(
        tmp_path, [one("aaa", 0.4), one("bbb", 0.5)], make.run(created="2026-01-01"), name="2.h5"
    )
    for order in ([new, old], [old, new]):
        rows = rank(order)
        assert [(r.rank, r.study.key, round(r.study.score, 3)) for r in rows] == [
            (1, "aaa", 0.9),
            (2, "bbb", 0.5),
        ]
        assert rows[0].results.path == new.path


def test_featured_are_flagged_ones_first_then_by_rank(tmp_path):
    studies = [one("aaa", 0.9, threshold=0.95), one("bbb", 0.7), one("ccc", 0.4), make.study("ddd")]
    rows = rank([make.results(tmp_path, studies)])
    assert featured(rows, 1) == {"bbb"}
    assert featured(rows, 2) == {"aaa", "bbb"}
    assert featured(rows, None) == {"aaa", "bbb", "ccc"}
    assert featured(rows, 0) == set()


def test_uncertain_studies_come_before_all_that_are_not_flagged(tmp_path):
    studies = [
        one("aaa", 0.9, threshold=0.95),
        one("bbb", 0.5, uncertain_from=0.45),
        one("ccc", 0.7),
        one("ddd", 0.4, uncertain_from=0.45),
        make.study("eee"),
    ]
    rows = rank([make.results(tmp_path, studies)])
    assert [row.study.key for row in rows] == ["ccc", "bbb", "aaa", "ddd", "eee"]
    assert [row.study.uncertain for row in rows] == [False, True, False, False, False]
    assert [flag_of(row) for row in rows] == [
        *("flagged", "uncertain", "not flagged", "not flagged", "not scored")
    ]


WHY = ["its slices look different: 2.00 times the limit of distance"]


def test_studies_unlike_the_shots_are_for_a_person_and_never_last(tmp_path):
    studies = [
        one("aaa", 0.9, threshold=0.95),
        one("bbb", 0.3, unlike=WHY, distance=2.0),
        one("ccc", 0.7, unlike=WHY, distance=2.0),
        one("ddd", 0.2, unlike=[], distance=0.5),
        make.study("eee"),
    ]
    rows = rank([make.results(tmp_path, studies)])
    assert [row.study.key for row in rows] == ["ccc", "bbb", "aaa", "ddd", "eee"]
    assert [row.study.unlike for row in rows] == [True, True, False, False, False]
    assert [flag_of(row) for row in rows] == [
        *("flagged", "unlike", "not flagged", "not flagged", "not scored")
    ]
    assert all(f"unlike what the detector was fitted on: {WHY[0]}" in notes_of(r) for r in rows[:2])
    assert not any("unlike" in note for row in rows[2:] for note in notes_of(row))


def test_of_a_study_that_is_uncertain_the_stack_that_is_so_stands_for_it(tmp_path):
    stacks = [
        make.stack("s1", 0.58, threshold=0.6),
        make.stack("s2", 0.5, threshold=0.6, uncertain_from=0.45),
    ]
    (row,) = rank([make.results(tmp_path, [make.study("aaa", stacks)])])
    assert row.worst.key == "s2"
    assert [stack.key for stack in row.place.sorted(stacks)] == ["s2", "s1"]


@pytest.fixture
def changes(tmp_path):
    before = [one("aaa", 0.9), one("bbb", 0.7), one("ccc", 0.5), one("ddd", 0.45), one("eee", 0.3)]
    now = [one("aaa", 0.9), one("bbb", 0.55), one("ccc", 0.65), one("eee", 0.47), one("fff", 0.99)]
    old = make.results(tmp_path, before, make.run(created="2026-01-01"), name="old.h5")
    new = make.results(tmp_path, now, name="new.h5")
    return new, old


def test_what_is_new_since_older_results(changes):
    new, old = changes
    found = compare(rank([new]), old)
    assert found.by_key == {
        "fff": (Change.NEW, "new"),
        "aaa": (Change.SAME, ""),
        "ccc": (Change.FLAGGED, "newly flagged"),
        "bbb": (Change.CLEARED, "newly cleared"),
        "eee": (Change.SAME, ""),
    }
    assert (found.gone, found.since) == (1, "2026-01-01")
    assert found.count(Change.FLAGGED) == 1


def test_a_study_moves_when_its_own_score_does(tmp_path):
    before = [one("aaa", 0.9), one("bbb", 0.8), one("ccc", 0.7), make.study("ddd")]
    now = [one("aaa", 0.65), one("bbb", 0.8), one("ccc", 0.7), one("ddd", 0.3)]
    old = make.results(tmp_path, before, name="old.h5")
    found = compare(rank([make.results(tmp_path, now, name="new.h5")]), old).by_key
    assert found["aaa"] == (Change.MOVED, "moved down 2")
    assert found["bbb"] == found["ccc"] == (Change.SAME, "")
    assert found["ddd"] == (Change.MOVED, "moved: scored now")
    back = compare(rank([old]), make.results(tmp_path, now, name="other.h5")).by_key
    assert back["aaa"] == (Change.MOVED, "moved up 2")
    assert back["ddd"] == (Change.UNSCORED, "not scored now")


def test_a_flagged_study_that_could_not_be_scored_is_not_cleared(tmp_path):
    old = make.results(tmp_path, [one("aaa", 0.9), one("bbb", 0.3)], name="old.h5")
    failed = make.stack("s1", 0.9, 6, pictures=0)
    failed.slice_score[:] = np.nan
    failed.state[:] = State.FAILED
    failed = dataclasses.replace(failed, score=float("nan"))
    new = make.results(tmp_path, [make.study("aaa", [failed]), one("bbb", 0.3)], name="new.h5")
    found = compare(rank([new]), old)
    assert found.by_key["aaa"] == (Change.UNSCORED, "not scored now")
    assert found.count(Change.CLEARED) == 0


def test_the_report_says_what_is_new(changes, tmp_path):
    new, old = changes
    write_report([new], tmp_path / "out", ReportOptions(old=old))
    text = Page(tmp_path / "out" / "index.html").text
    assert (
        "Since 2026-01-01: 1 newly flagged, 1 newly cleared, 0 not scored now, 0 moved, 1 new, "
        in text
    )
    assert "1 no longer there" in text
    assert "newly cleared" in Page(tmp_path / "out" / "studies" / "bbb.html").text
    assert "newly" not in Page(tmp_path / "out" / "studies" / "aaa.html").text


def test_results_compared_with_themselves_have_not_changed(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    found = compare(rank([results]), results)
    assert set(found.by_key.values()) == {(Change.SAME, "")}
    assert dataclasses.asdict(found)["gone"] == 0


def test_the_run_page_tells_of_a_precision_that_was_tried_on_patients_of_the_shots(tmp_path):
    def computed(told):
        detector = make.DETECTOR | {"tried_on_own": told}
        stacks = [make.stack(n=3, precision="int8", runtime="openvino")]
        file = make.results(tmp_path, [make.study("a", stacks)], make.run(detectors=[detector]))
        run = file.run()
        return run_view([run], rank([file]), cards_of([run])).computed["d" * 64]

    assert computed(["int8"]) == "int8 by openvino (tried on patients that it was fitted on)"
    assert computed(["bf16"]) == computed("int8 by hand") == "int8 by openvino"
