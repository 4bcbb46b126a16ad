"""Which slices verdicts make shots."""

from dataclasses import replace

import pytest

from medscan import detector
from medscan.feedback import choose
from medscan.report import read_decisions
from medscan.report.worklist import rank
from tests.report import make


@pytest.fixture
def parent(detector_file):
    """Of the domain that the results' detector has."""
    read = detector.read(detector_file)
    return replace(read, domain=detector.Domain("MR", "BRAIN", "FLAIR"))


@pytest.fixture
def chosen(tmp_path, parent):
    """Slices by study, stack and number, with label and whether drawn; and the studies left out."""
    studies = [
        make.study("aaa", [make.stack("s1", 0.95), make.stack("s2", 0.4, 12)]),
        make.study("bbb", [make.stack("s1", 0.45)]),
        make.study("ccc", [make.stack("s1", 0.9, detector_hash="e" * 64)]),
        make.study("ddd"),
    ]
    other = make.DETECTOR | {"hash": "e" * 64, "domain": "CHEST CR"}
    found = make.results(tmp_path, studies, make.run(detectors=[make.DETECTOR, other]))

    def call(*rows):
        path = tmp_path / "d.csv"
        path.write_text("\n".join(["study,verdict,stack,slice", *rows]))
        known = {row.study.key: row for row in rank([found])}
        got = choose(parent, read_decisions(path, [found]), known)
        picks = {p.name.removeprefix("results:"): (p.label, p.typical) for p in got.picks}
        return picks, (got.missed, got.unused)

    return call


def test_a_named_slice_has_the_label_that_it_was_given(chosen):
    picks, left = chosen("aaa,abnormal,s1,13", "aaa,normal,s2,3", "bbb,unsure,,", "aaa,unsure,s1,5")
    assert picks == {"aaa/s1#13": (1, False), "aaa/s2#3": (0, False)}
    assert left == (0, 0)


def test_a_normal_study_gives_the_worst_slice_and_one_at_random_of_each_stack(chosen):
    picks, _ = chosen("aaa,normal,,")
    assert picks["aaa/s1#13"] == picks["aaa/s2#7"] == (0, False)
    drawn = [name for name, (label, typical) in picks.items() if typical and not label]
    assert sorted(name.split("#")[0] for name in drawn) == ["aaa/s1", "aaa/s2"]
    assert picks == chosen("aaa,normal,,")[0]
    assert chosen("aaa,normal,s2,")[0].items() <= picks.items()


def test_what_is_drawn_depends_on_no_score(tmp_path, parent):
    """Else the threshold would rest on slices that were picked out."""
    places = set()
    for number in range(40):
        study = make.study(f"k{number}", [make.stack("s1", 0.95)])
        found = make.results(tmp_path, [study], name=f"{number}.h5")
        (tmp_path / "d.csv").write_text(f"study,verdict\nk{number},normal\n")
        decisions = read_decisions(tmp_path / "d.csv", [found])
        picks = choose(parent, decisions, {r.study.key: r for r in rank([found])}).picks
        places |= {pick.slice_index for pick in picks if pick.typical}
    assert len(places) > 12
    assert places <= set(range(1, 23)), "only scored slices"


def test_an_abnormal_study_gives_its_worst_slice_where_it_was_flagged(chosen):
    assert chosen("aaa,abnormal,,") == ({"aaa/s1#13": (1, False)}, (0, 0))
    assert chosen("bbb,abnormal,,") == ({}, (1, 0))
    assert chosen("aaa,abnormal,s2,") == ({}, (1, 0))
    assert chosen("aaa,abnormal,,", "aaa,abnormal,s2,3")[0] == {"aaa/s2#3": (1, False)}
    assert chosen("aaa,abnormal,,", "aaa,normal,s1,13") == ({"aaa/s1#13": (0, False)}, (1, 0))
    picks, _ = chosen("aaa,abnormal,s1,", "aaa,normal,s2,")
    assert picks.pop("aaa/s1#13") == (1, False)
    assert {name.split("#")[0] for name in picks} == {"aaa/s2"}


def test_what_is_unsure_or_not_scored_is_no_shot(chosen):
    assert chosen("aaa,unsure,,", "bbb,abnormal,s1,1") == ({}, (1, 0)), "slice 1 is background"
    picks, _ = chosen("bbb,normal,,", "bbb,unsure,s1,13")
    assert "bbb/s1#13" not in picks
    assert len(picks) <= 1


def test_other_domains_are_left_alone(chosen):
    assert chosen("ccc,normal,,", "ddd,abnormal,,") == ({}, (0, 2))
