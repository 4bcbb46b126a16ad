"""Scores of detectors that a scan does not ask for stay, are shown as such, or go with a note."""

import csv
import os
from dataclasses import replace

import numpy as np
import pytest

from medscan import detector, report, results
from medscan.detector import Domain
from medscan.errors import DiskError
from medscan.inspect import verify_results
from medscan.report.worklist import rank
from medscan.scanning import part, run, scan
from tests import tiny
from tests.content import content
from tests.options import changed

FLAIR, WIDE = "tiny-flair", "tiny-wide"


@pytest.fixture
def wide(options, tmp_path, backbone):
    """Options with another detector, which takes any MR image."""
    path, old = options.inputs.detectors[0]
    at = tmp_path / f"{WIDE}.safetensors"
    method = old.load_method(path, backbone)
    low = replace(old.calibration, threshold=-1.0, normals=())  # flags everything
    replace(old, domain=Domain("MR"), calibration=low).save(at, method)
    return changed(options, detectors=((at, detector.read(at)),))


@pytest.fixture
def other(wide, tmp_path, backbone):
    """Options with a detector for which nothing here is in scope."""
    path, old = wide.inputs.detectors[0]
    at = tmp_path / "tiny-ct.safetensors"
    replace(old, domain=Domain("CT", "CHEST")).save(at, old.load_method(path, backbone))
    return changed(wide, detectors=((at, detector.read(at)),))


@pytest.fixture
def two(root):
    for name in "ab":
        volume = tiny.head_volume(ord(name), slices=3)
        tiny.write_series(root / name, volume, study=f"1.{ord(name)}")
    return root


def studies(options):
    return {s.info["path"]: s for s in results.open(options.outputs.out).studies()}


def scores(study):
    """Score of each detector, and whether it is kept."""
    return {s.info["detector"]: (s.score, bool(study.kept_from(s))) for s in study.stacks}


def rows(options):
    with options.outputs.out.with_suffix(".csv").open() as stream:
        return list(csv.DictReader(stream))


def stacks_of(options):
    """What the file says of the stacks."""
    return {k: v for k, v in content(options.outputs.out).items() if k.count("/") > 1}


def test_a_detector_that_is_left_out_costs_no_score(options, other, two):
    scan(options)
    before = stacks_of(options)
    summary = scan(other)
    assert (summary.scanned, summary.unchanged) == (0, 2)
    assert stacks_of(options) == before
    when = {study.kept_from(stack) for study in studies(options).values() for stack in study.stacks}
    assert all(when)
    assert summary.reasons == {"kept": 6}
    assert summary.coverage.kept == {FLAIR: 2}
    day = min(when)[:10]
    assert summary.line().endswith(
        "of 2 studies 2 scored by an earlier scan only; "
        f"scores kept: 2 of {FLAIR} (since {day}; not scored now)"
    )
    assert scan(other).line().endswith(f"(since {day}; not scored now)"), "without a look"
    # Asked for again, the scores are as good as new: nothing is scanned.
    summary = scan(options)
    assert (summary.scanned, summary.reasons, summary.coverage.kept) == (0, {"scanned": 6}, {})
    assert stacks_of(options) == before
    assert [row.kept for row in rank([results.open(options.outputs.out)])] == [{}, {}]


def test_what_only_a_named_detector_scores_stays_without_the_name(options, root):
    tiny.write_nifti(root / "v.nii", tiny.head_volume(1, slices=3))
    scan(options)
    before = stacks_of(options)
    assert before
    summary = scan(changed(options, named=False))
    assert (summary.scanned, summary.coverage.kept) == (0, {FLAIR: 1})
    assert stacks_of(options) == before


def test_two_detectors_may_score_one_series(options, wide, two):
    scan(options)
    (first,) = studies(options)["a"].stacks
    summary = scan(wide)
    assert (summary.scanned, summary.slices, summary.flagged) == (2, 6, 2)
    assert summary.coverage.detectors == {WIDE: 2}
    study = studies(options)["a"]
    assert {n: kept for n, (_, kept) in scores(study).items()} == {FLAIR: True, WIDE: False}
    kept = next(s for s in study.stacks if s.info["detector"] == FLAIR)
    assert kept.source_key == first.key != kept.key
    np.testing.assert_array_equal(kept.heatmap, first.heatmap)
    np.testing.assert_array_equal(kept.thumbnail, first.thumbnail)
    assert (kept.score, kept.info) == (first.score, first.info)
    assert study.score == max(score for score, _ in scores(study).values())
    assert study.info["slices"] == 6
    assert study.flagged
    # Each asks again in turn, and there is nothing to do.
    assert [scan(o).scanned for o in (options, wide, options)] == [0, 0, 0]
    study = studies(options)["a"]
    assert {n: kept for n, (_, kept) in scores(study).items()} == {FLAIR: False, WIDE: True}
    assert study.flagged, "the flag of a score that is kept counts"
    both = options.inputs.detectors + wide.inputs.detectors
    verified = verify_results(replace(options.inputs, detectors=both), options.outputs, 9)
    assert (verified.problems, verified.rescored, verified.stacks) == ([], 2, 4)
    verified = verify_results(options.inputs, options.outputs, 9)
    assert (verified.problems, verified.rescored) == ([], 2), "without the other detector"


def test_the_ledger_is_made_again_with_what_is_kept(options, wide, two):
    scan(options)
    scan(wide)
    options.outputs.ledger_path.unlink()
    assert scan(options).scanned == 0
    assert {n: kept for n, (_, kept) in scores(studies(options)["a"]).items()} == {
        FLAIR: False,
        WIDE: True,
    }


def test_scores_of_changed_files_go_with_a_note(options, wide, two, root):
    scan(options)
    for path in (root / "a").iterdir():
        os.utime(path, ns=(1, 1))
    summary = scan(wide)
    found = studies(options)
    assert set(scores(found["a"])) == {WIDE}
    assert set(scores(found["b"])) == {FLAIR, WIDE}
    assert summary.coverage.outdated == 1
    assert "1 scores dropped, because their files have changed" in summary.line()
    (entry,) = found["a"].info["skipped"]
    assert entry[0].endswith(f" {FLAIR}")
    assert entry[1] == "outdated"
    # The note stays until the detector scores the series again.
    assert scan(wide).scanned == 0
    assert studies(options)["a"].info["skipped"] == [entry]
    assert scan(options).scanned == 1
    found = studies(options)["a"]
    assert found.info["skipped"] == []
    assert set(scores(found)) == {FLAIR, WIDE}


def test_scores_of_changed_files_that_wait_for_a_scan_are_stale(options, wide, two, root):
    scan(options)
    for path in (root / "a").iterdir():
        os.utime(path, ns=(1, 1))
    tiny.write_series(root / "0", tiny.head_volume(4, slices=2), study="1.4")
    summary = scan(changed(wide, max_studies=1))  # the new one
    assert (summary.coverage.waiting, summary.coverage.outdated) == (2, 0)
    study = studies(options)["a"]
    assert set(scores(study)) == {FLAIR}
    assert (study.mark.stale, study.mark.kept, study.info["skipped"]) == (True, (), [])


def test_another_series_in_the_study_costs_no_score(options, other, two, root):
    scan(options)
    before = stacks_of(options)
    volume = tiny.head_volume(9, slices=2)
    tiny.write_series(root / "a" / "late", volume, study=f"1.{ord('a')}", Modality="US")
    summary = scan(other)
    assert (summary.unscored, summary.coverage.kept) == (1, {FLAIR: 2})
    assert stacks_of(options) == before


def test_scores_that_wait_for_their_turn_are_not_lost(options, wide, two):
    scan(options)
    summary = scan(changed(wide, max_studies=1))
    assert (summary.coverage.scored, summary.coverage.waiting) == (1, 1)
    assert "of 2 studies 1 scored, 1 not yet scanned; scores kept: 2 of" in summary.line()
    found = studies(options)
    assert sorted(map(len, map(scores, found.values()))) == [1, 2]
    assert all(FLAIR in scores(study) for study in found.values())
    options.outputs.ledger_path.unlink()
    assert scan(wide).scanned == 1


def test_an_unpublished_part_is_kept_too(options, wide, other, two, monkeypatch):
    def full(*_args):
        raise DiskError("full")

    monkeypatch.setattr(run, "publish_results", full)
    with pytest.raises(DiskError):
        scan(options)
    with pytest.raises(DiskError):
        scan(wide)
    monkeypatch.undo()
    scan(other)
    found = studies(options)
    assert [set(scores(study)) for study in found.values()] == [{FLAIR, WIDE}] * 2
    assert all(kept for study in found.values() for _, kept in scores(study).values())


def test_dropping_is_a_word_of_its_own(options, wide, two):
    scan(options)
    scan(wide)
    flair = studies(options)["a"]
    summary = scan(changed(options, dropped_detectors=(WIDE, "no-such")))
    assert (summary.scanned, summary.coverage.dropped) == (0, 2)
    assert "2 scores dropped, as asked" in summary.line()
    assert summary.notes == ["no scores of a detector no-such to drop"]
    study = studies(options)["a"]
    assert set(scores(study)) == {FLAIR}
    (left,) = study.stacks
    assert (study.score, study.percentile) == (left.score, left.percentile)
    assert study.flagged == left.flagged
    assert study.info["slices"] == 3 < flair.info["slices"]
    verified = verify_results(options.inputs, options.outputs, 9)
    assert (verified.problems, verified.rescored) == ([], 2)
    works = dict((key, work) for key, work, _ in results.open(options.outputs.out).works())
    assert all(len(work.scores) == 1 for work in works.values())
    assert scan(options).scanned == 0
    # What the scan itself asks for is never dropped.
    summary = scan(changed(options, dropped_detectors=(FLAIR,)))
    assert summary.coverage.dropped == 0
    assert summary.line().endswith(f"; {FLAIR} is asked for by this scan: its scores are kept")
    assert set(scores(studies(options)["a"])) == {FLAIR}


def test_a_study_that_is_scanned_drops_too(options, wide, two, root):
    scan(options)
    summary = scan(changed(wide, dropped_detectors=(FLAIR,)))
    assert (summary.scanned, summary.coverage.dropped) == (2, 2)
    assert set(scores(studies(options)["a"])) == {WIDE}


def test_what_is_kept_discloses_no_more_than_was_asked_for(options, wide, two):
    scan(changed(options, identify=True))
    summary = scan(changed(wide, hash_paths=True))
    assert summary.coverage.outdated == 2
    (study, _) = studies(options).values()
    assert set(scores(study)) == {WIDE}
    assert not any("description" in stack.info for stack in study.stacks)


def test_thumbnails_go_where_none_are_asked_for(options, wide, two):
    scan(options)
    scan(changed(wide, thumbnails=False))
    for stack in studies(options)["a"].stacks:
        assert (len(stack.thumbnail), stack.info["thumbnails"]) == (0, "not asked for")


def test_tables_and_pages_say_what_is_kept(options, wide, two, tmp_path):
    scan(options)
    scan(wide, publish=_publish)
    assert {row["kept"][: len(FLAIR) + 1] for row in rows(options)} == {f"{FLAIR} "}
    assert {row["flagged"] for row in rows(options)} == {"1"}
    found = [results.open(options.outputs.out)]
    report.write_csv(found, tmp_path / "series.csv", "series")
    with (tmp_path / "series.csv").open() as stream:
        kept = {(row["detector"], bool(row["kept"])) for row in csv.DictReader(stream)}
    assert kept == {(FLAIR, True), (WIDE, False)}
    page = options.outputs.out.with_suffix(".html").read_text()
    day = next(iter(studies(options).values())).stacks[0].info["scanned"][:10]
    note = f"core of {FLAIR} kept from the scan of {day}; not scored in the last scan"
    assert page.count(f'<p class="kept">S{note}.</p>') == 2
    assert f"not scored in the last scan, kept: {FLAIR} {day}" in page
    assert "<strong>2</strong> with scores kept from an earlier scan" in page


def _publish(out, table, page):
    report.write_csv([results.open(out)], table)
    report.write_html([results.open(out)], page)


def test_what_is_new_is_counted_once(options, wide, two, monkeypatch):
    told, real = [], part.FinishedStudy.facts

    def facts(self):
        told.append((self.stacks, self.slices))
        return real(self)

    monkeypatch.setattr(part.FinishedStudy, "facts", facts)
    scan(options)
    scan(wide)
    assert told == [(1, 3)] * 4
