"""Slices at their own resolution: which, what they hold, and how long they stay."""

import base64
import json
import zlib

import numpy as np
import pytest

from medscan.decoding import PixelPlane
from medscan.imaging import pack
from medscan.report import Drawn, ReportOptions, write_report
from medscan.report.pixels import MOST_FLAGGED, full_slices, pixel_script
from medscan.results import State
from tests import tiny
from tests.report import archived, make


@pytest.fixture
def scanned(tmp_path):
    tags = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}
    tiny.write_series(tmp_path / "archive" / "a", tiny.head_volume(1), **tags)
    return tmp_path / "archive", archived.studies_of(tmp_path / "archive", size=48, grid=6)


def numbers(out):
    """Numbers of the slices that a report holds at their own resolution."""
    return sorted(int(p.stem.rpartition("-")[2]) for p in (out / "studies").rglob("*.js"))


def test_the_slices_that_matter():
    stack = make.stack("s1", 0.9, 24)
    reach = set(np.flatnonzero(stack.slice_score >= 0.5).tolist())
    assert full_slices(stack, "flagged") == reach
    assert len(reach) > 3
    assert full_slices(make.stack("s1", 0.4, 24), "flagged") == {11, 12, 13}
    assert full_slices(stack, 2) == {12, 11}
    assert full_slices(stack, 0) == set()
    assert full_slices(stack, "all") == set(range(24))
    long = make.stack("s1", 0.9, 90)
    long.slice_score[1:-1] = 0.8
    assert full_slices(long, "flagged") == set(range(1, 1 + MOST_FLAGGED))
    long.state[:] = State.FAILED
    assert full_slices(long, "flagged") == set()


@pytest.mark.parametrize(("which", "wanted"), [("all", 6), (2, 2), (0, 0)])
def test_a_report_holds_those_asked_for(scanned, tmp_path, which, wanted):
    roots, studies = scanned
    options = ReportOptions(archives=(roots,), full=which)
    write_report([make.results(tmp_path, studies)], tmp_path / "out", options)
    assert len(numbers(tmp_path / "out")) == wanted
    assert len(list(tmp_path.rglob("*-[0-9]*.jpg"))) == 6, "all have a picture all the same"


def test_they_hold_the_values_of_the_file(scanned, tmp_path):
    roots, studies = scanned
    options = ReportOptions(archives=(roots,), full="all")
    write_report([make.results(tmp_path, studies)], tmp_path / "out", options)
    script = sorted(tmp_path.rglob("*-0003.js"))[0].read_text("ascii")
    facts = json.loads(script.partition("medscanSlice(")[2].rpartition(")")[0])
    assert (facts["rows"], facts["columns"], facts["width"], facts["step"]) == (48, 48, 2, 1.0)
    values = tiny.head_volume(1)[:, :, 2]
    assert facts["first"] == values.min() - 1024
    assert len(zlib.decompress(base64.b64decode(facts["data"]))) == 2 * values.size
    assert facts["rounded"] == 0


def test_they_stay_until_the_result_is_another_one(scanned, tmp_path):
    roots, studies = scanned
    results, out = make.results(tmp_path, studies), tmp_path / "out"
    write_report([results], out, ReportOptions(archives=(roots,), full=2))
    before = numbers(out)
    write_report([results], out, ReportOptions(archives=(roots,), full=0))
    assert write_report([results], out) == Drawn()
    assert numbers(out) == before
    page = (out / "studies" / f"{studies[0].key}.html").read_text("utf-8")
    assert all(f"-{number:04d}.js" in page for number in before)
    write_report([results], out, ReportOptions(keeps_slices=False))
    assert numbers(out) == []


def test_what_may_carry_burned_in_text_stays_withheld(scanned, tmp_path):
    roots, studies = scanned
    studies[0].stacks[0].info["thumbnails"] = "withheld: may carry burned-in text"
    options = ReportOptions(archives=(roots,), full="all")
    write_report([make.results(tmp_path, studies)], tmp_path / "out", options)
    assert numbers(tmp_path / "out") == []


def test_units_of_a_header_are_text_and_nothing_else():
    units = "</script>\u2028\u202e*/\n<img src=x>" + "A" * 100
    plane = PixelPlane(np.zeros((2, 2), np.float32), units=units)
    script = pixel_script(pack(plane, plane.pixels, (0, 1), None), "c" * 32)
    head, call, last = script.decode("ascii").split("\n")
    assert (head, last) == ("// medscan " + "c" * 32, "")
    shown = json.loads(call.removeprefix("medscanSlice(").removesuffix(");"))["units"]
    assert "\u202e" not in shown
    assert len(shown) <= 60
