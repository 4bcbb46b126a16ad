"""A scan that scores slices so far apart, and then beside the highest."""

import csv

import numpy as np
import pytest

from medscan import detector, results
from medscan.errors import UsageError
from medscan.inspect import verify_results
from medscan.report import write_csv
from medscan.results import State
from medscan.scanning import scan
from medscan.scoring import StackBuilder, aggregate
from tests import tiny
from tests.benchmarks import every
from tests.options import changed

SLICES = 24


@pytest.fixture
def thin(root, options, detector_file):
    """Two series of 24 slices, 1 mm apart, and one of three."""
    for number in range(2):
        volume = tiny.head_volume(number, slices=SLICES)
        tiny.write_series(root / str(number), volume, study=f"1.{number}")
    tiny.write_series(root / "few", tiny.head_volume(9, slices=3), study="1.9")
    found = ((detector_file, detector.read(detector_file)),)
    return changed(options, detectors=found, every_mm=4.0, named=True)


def stacks(options):
    return {s.key: s for t in results.open(options.outputs.out).studies() for s in t.stacks}


def test_slices_that_are_scored_score_the_same_and_the_others_are_told(
    thin, tmp_path, monkeypatch, capsys
):
    summary = scan(thin)
    whole = changed(thin, out=tmp_path / "whole.h5", every_mm=None)
    scan(whole)
    monkeypatch.setattr("sys.argv", ["every", str(whole.outputs.out), "--mm", "4", "0.5"])
    every.main()
    played, none = capsys.readouterr().out.splitlines()
    assert played.startswith(f"4 mm: {summary.slices} of {2 * SLICES + 3} slices scored; ")
    assert none == "0.5 mm: no stack is that thin"
    assert 0 < summary.passed_over < 2 * SLICES * 3 // 4
    assert summary.slices + summary.passed_over == 2 * SLICES + 3
    assert f"slices and {summary.passed_over} passed over in " in summary.line()
    assert summary.reasons["passed-over"] == summary.passed_over
    assert sum(summary.files.values()) == 2 * SLICES + 3
    full = stacks(whole)
    for key, stack in stacks(thin).items():
        scored = stack.state == State.SCORED
        assert np.isin(stack.state, (State.SCORED, State.PASSED_OVER)).all()
        assert stack.slice_score[scored].tobytes() == full[key].slice_score[scored].tobytes()
        assert stack.heatmap[scored].tobytes() == full[key].heatmap[scored].tobytes()
        assert stack.score == aggregate(stack.slice_score, int((~scored).sum()))
        assert stack.info["threshold"] == full[key].info["threshold"]
        assert stack.score <= full[key].score
    write_csv([results.open(thin.outputs.out)], tmp_path / "series.csv", "series")
    with (tmp_path / "series.csv").open() as stream:
        told = [int(row["passed_over"]) for row in csv.DictReader(stream)]
    assert sum(told) == summary.passed_over


def test_the_option_decides_what_is_scanned_again_and_verify_knows_it(thin):
    scan(thin)
    assert scan(thin).unchanged == 3
    found = verify_results(thin.inputs, thin.outputs, 9, device="cpu")
    assert (found.problems, found.rescored) == ([], 3)
    assert scan(changed(thin, every_mm=None)).scanned == 3
    assert all((s.state == State.SCORED).all() for s in stacks(thin).values())


@pytest.mark.parametrize("every", [0.0, -1.0, float("nan"), float("inf")])
def test_a_distance_that_is_none_is_refused(thin, every):
    with pytest.raises(UsageError, match=r"--every .*: a number of millimetres above 0"):
        scan(changed(thin, every_mm=every))


def test_a_mistake_while_more_slices_are_asked_for_costs_one_study(thin, root, monkeypatch):
    """The first stack of the study has asked already when the second one fails."""
    tiny.write_series(root / "more", tiny.head_volume(5, slices=SLICES), study="1.0")
    asked, first = StackBuilder.further_jobs, {}

    def further_jobs(builder, most, study, companions):
        if first.setdefault(study, builder) is not builder:
            raise ZeroDivisionError
        return asked(builder, most, study, companions)

    monkeypatch.setattr(StackBuilder, "further_jobs", further_jobs)
    summary = scan(thin)
    assert (summary.scanned, summary.unscored) == (3, 1)
    assert summary.files["failed"] == 2 * SLICES
    assert sum(summary.files.values()) == 3 * SLICES + 3
