"""Results files read as one, and what is chosen of them."""

from dataclasses import replace

import pytest

from medscan.archive import key_of
from medscan.errors import UsageError
from medscan.report.worklist import rank
from medscan.results import Mark, distinct, select_studies, source_paths
from tests.report import make

UID = "1.2.840.99"


@pytest.fixture
def shards(tmp_path):
    """Two files; both hold study b, which the later one flags no more."""
    early = [make.study("a", [make.stack("s1", 0.9)]), make.study("b", [make.stack("s1", 0.8)])]
    late = [make.study("b", [make.stack("s1", 0.3)]), make.study(key_of(UID), [make.stack("s1")])]
    return [
        make.results(tmp_path, late, make.run(created="2026-01-03T00:00:00+00:00"), "late.h5"),
        make.results(tmp_path, early, make.run(created="2026-01-02T00:00:00+00:00"), "early.h5"),
    ]


def held(files):
    return {file.path.stem: file.keys() for file in files}


def test_a_study_is_taken_from_the_file_written_last(shards):
    wanted = {"late": sorted(["b", key_of(UID)]), "early": ["a"]}
    for files in (shards, shards[::-1], [*shards, *shards]):
        assert held(distinct(files)) == wanted
        assert [row.study.flagged for row in rank(files) if row.study.key == "b"] == [False]
    assert sorted(study.key for file in distinct(shards) for study in file.studies()) == sorted(
        ["a", "b", key_of(UID)]
    )


def test_a_later_file_without_a_score_hides_no_study(tmp_path):
    """Such as that of a scan with a detector for another body part."""
    info = make.run(created="2026-01-04T00:00:00+00:00")
    flagged, out_of_scope = make.study("a", [make.stack("s1", 0.9)]), make.study("a")
    early = make.results(tmp_path, [flagged], name="early.h5")
    late = make.results(tmp_path, [out_of_scope, make.study("b")], info, "late.h5")
    for files in ([early, late], [late, early]):
        assert held(distinct(files)) == {"early": ["a"], "late": ["b"]}
        assert [row.study.flagged for row in rank(files)] == [True, False]


def test_what_an_older_file_keeps_stays_kept(tmp_path):
    chest = make.stack("s2", 0.4, scanned="2026-01-01T00:00:00+00:00")
    chest.info["SeriesInstanceUID"] = "1.2.9"
    older = replace(make.study("a", [chest]), mark=Mark(kept=("s2",)))
    newer = make.study("a", [make.stack("s1", 0.9)])
    info = make.run(created="2026-01-04T00:00:00+00:00")
    files = [
        make.results(tmp_path, [older], name="early.h5"),
        make.results(tmp_path, [newer], info, "late.h5"),
    ]
    (row,) = rank(files)
    assert [stack.key for stack in row.study.stacks] == ["s1", "s2"]
    assert row.kept == {"brain-flair": "2026-01-01T00:00:00+00:00"}


@pytest.fixture
def organs(tmp_path):
    """Two scans of one study, each of another series; only the older one flags it."""
    both = [make.stack("s1", 0.9), make.stack("s2", 0.4)]
    both[1].info["SeriesInstanceUID"] = "1.2.9"
    head = make.study("a", [both[0]])
    head.info["skipped"] = [["s2 CT CHEST axial", "out-of-scope"]]
    chest = make.study("a", [both[1]])
    chest.info["skipped"] = [["s1 MR BRAIN axial", "out-of-scope"], ["s3 CT", "out-of-scope"]]
    later = make.run(created="2026-01-04T00:00:00+00:00")
    old = make.results(tmp_path, [head], name="head.h5")
    return [old, make.results(tmp_path, [chest], later, "chest.h5")]


def test_series_that_only_an_older_scan_scored_are_not_lost(organs):
    for files in (organs, organs[::-1]):
        (row,) = rank(files)
        assert (row.study.flagged, row.study.score) == (True, pytest.approx(0.9))
        assert [stack.key for stack in row.study.stacks] == ["s1", "s2"]
        assert row.study.info["slices"] == row.slices
        assert row.study.info["skipped"] == [["s3 CT", "out-of-scope"]]
        assert [s.heatmap.shape[0] for s in row.results.with_arrays(row.study).stacks] == [24, 24]
        assert held(select_studies(files, flagged=True)) == {"chest": ["a"], "head": []}


def test_volumes_of_a_session_have_no_uid_and_are_told_apart(tmp_path):
    old = make.study("a", [make.stack("s1", 0.9, SeriesInstanceUID="")])
    new = make.study("a", [make.stack("s2-2", 0.4, SeriesInstanceUID="")])
    later = make.run(created="2026-01-04T00:00:00+00:00")
    files = [make.results(tmp_path, [old], name="old.h5")]
    files.append(make.results(tmp_path, [new], later, "new.h5"))
    (row,) = rank(files)
    assert ([stack.key for stack in row.study.stacks], row.series) == (["s1", "s2-2"], 2)


def test_a_series_that_was_scored_again_is_the_newer_one(organs, tmp_path):
    again = make.study("a", [make.stack("s1", 0.3)])
    latest = make.results(
        tmp_path, [again], make.run(created="2026-01-05T00:00:00+00:00"), "again.h5"
    )
    (row,) = rank([*organs, latest])
    assert [stack.score for stack in row.study.stacks] == [pytest.approx(0.3), pytest.approx(0.4)]
    assert not row.study.flagged


def test_some_studies_by_key_or_uid(shards):
    assert held(select_studies(shards, ["a", UID])) == {"late": [key_of(UID)], "early": ["a"]}
    assert held(select_studies(shards)) == held(distinct(shards))
    with pytest.raises(UsageError, match=r"--study c: no such study in .*early.h5, .*late.h5"):
        select_studies(shards, ["a", "c"])


def test_flagged_by_the_file_that_counts(shards):
    assert held(select_studies(shards, flagged=True)) == {"late": [key_of(UID)], "early": ["a"]}
    assert held(select_studies(shards, ["b"], flagged=True)) == {"late": [], "early": []}


def test_a_view_shows_no_other_study(shards):
    view = replace(shards[1], only=frozenset("b"))
    assert [study.key for study in view.ranked()] == ["b"]
    assert source_paths([view]) == {f"study/s1/{at:03d}.dcm" for at in range(24)}
