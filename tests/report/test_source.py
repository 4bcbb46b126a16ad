"""Pictures of all slices, drawn again from the archive."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from medscan import worker
from medscan.errors import CorruptError
from medscan.reading import jobs
from medscan.report import Drawn, ReportOptions, write_html, write_report
from medscan.report.study import KEY_SLICES
from tests import tiny
from tests.report import make
from tests.report.archived import studies_of
from tests.report.markup import Page


@pytest.fixture
def scanned(tmp_path):
    """An archive of a DICOM series and a volume, and results as a scan leaves them."""
    tiny.write_series(tmp_path / "archive" / "a", tiny.head_volume(1))
    tiny.write_nifti(tmp_path / "archive" / "b.nii", tiny.head_volume(2))
    return tmp_path / "archive", studies_of(tmp_path / "archive", size=48, grid=6)


def drawn(tmp_path, roots, studies, **options):
    results = make.results(tmp_path, studies)
    options = ReportOptions(archives=(roots,), keeps_slices=False, **options)
    write_report([results], tmp_path / "out", options)
    return sorted(p for p in (tmp_path / "out").rglob("*.jpg") if p.name != "icon.jpg")


def test_every_slice_gets_a_picture(scanned, tmp_path):
    roots, studies = scanned
    made = drawn(tmp_path, roots, studies)
    assert len(made) == 12
    for path in made:
        picture = np.asarray(Image.open(path))
        assert picture.shape == (48, 48)
        assert picture.max() > 100
    page = Page(tmp_path / "out" / "studies" / f"{studies[0].key}.html")
    assert page.source.count(".jpg") >= 6


def test_a_modality_is_drawn_in_the_window_of_a_site(scanned, tmp_path):
    roots, studies = scanned
    own = [np.asarray(Image.open(path)) for path in drawn(tmp_path, roots, studies)]
    page = tmp_path / "out" / "studies" / f"{studies[0].key}.html"
    assert "not as the detector saw" not in page.read_text("utf-8")
    for modality, differs in (("CT", False), ("MR", True)):
        windows = {modality: "window:-5000,5000"}
        made = [np.asarray(Image.open(p)) for p in drawn(tmp_path, roots, studies, windows=windows)]
        changed = [np.ptp(a) != np.ptp(b) for a, b in zip(own, made, strict=True)]
        assert any(changed) == differs
        note = "slices of MR drawn by window:-5000,5000, not as the detector saw them"
        assert (note in page.read_text("utf-8")) == differs
    results, out = make.results(tmp_path, studies), tmp_path / "out"
    write_report([results], out, ReportOptions(windows={"MR": "window:-5000,5000"}))
    assert list(out.rglob("*-[0-9]*.jpg")), "kept while the window stays"
    write_report([results], out)
    assert list(out.rglob("*-[0-9]*.jpg")) == [], "never shown as another window"


def test_slices_that_an_earlier_report_drew_are_shown_again(scanned, tmp_path):
    roots, studies = scanned
    results, out = make.results(tmp_path, studies), tmp_path / "out"
    write_report([results], out, ReportOptions(archives=(roots,)))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*-[0-9]*.jpg")}
    page = out / "studies" / f"{studies[0].key}.html"
    shown = page.read_text("utf-8").count(".jpg")
    assert write_report([results], out) == Drawn()
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*-[0-9]*.jpg")} == before
    assert page.read_text("utf-8").count(".jpg") == shown > 0
    write_report([results], out, ReportOptions(keeps_slices=False))
    assert list(out.rglob("*-[0-9]*.jpg")) == []


def test_slices_of_another_result_are_not_shown_again(scanned, tmp_path):
    roots, studies = scanned
    write_report(
        [make.results(tmp_path, studies)], tmp_path / "out", ReportOptions(archives=(roots,))
    )
    stack = studies[0].stacks[0]
    stack.slice_score[:] = stack.slice_score[::-1].copy()
    stack.slice_score[0] += 0.25
    (tmp_path / "later").mkdir()
    write_report([make.results(tmp_path / "later", studies)], tmp_path / "out")
    kept = {path.parent.name for path in (tmp_path / "out").rglob("*-[0-9]*.jpg")}
    assert kept == {studies[1].key}


def test_studies_that_are_not_in_the_archive_are_counted(scanned, tmp_path):
    roots, studies = scanned
    (tmp_path / "empty").mkdir()
    results = make.results(tmp_path, studies)
    options = ReportOptions(archives=(tmp_path / "empty",))
    assert write_report([results], tmp_path / "out", options) == Drawn(0, 0, 2)
    shutil.rmtree(roots / "a")
    options = ReportOptions(archives=(roots,))
    assert write_report([results], tmp_path / "out", options) == Drawn(6, 1, 1)


def test_as_many_studies_as_asked_for(scanned, tmp_path):
    roots, studies = scanned
    assert len(drawn(tmp_path, roots, studies, most=1)) == 6
    assert drawn(tmp_path, roots, studies, most=0) == []


def test_a_single_page_holds_the_worst_slices_only(scanned, tmp_path):
    roots, studies = scanned
    write_html(
        [make.results(tmp_path, studies)], tmp_path / "w.html", ReportOptions(archives=(roots,))
    )
    viewers = re.findall(r'"pictures": \[.*?\]', (tmp_path / "w.html").read_text("utf-8"))
    assert [viewer.count("data:image/jpeg") for viewer in viewers] == [KEY_SLICES, KEY_SLICES]


def test_what_may_carry_burned_in_text_stays_withheld(scanned, tmp_path):
    roots, studies = scanned
    studies[0].stacks[0].info["thumbnails"] = "withheld: may carry burned-in text"
    assert len(drawn(tmp_path, roots, studies)) == 6


def serve_failing(*args):
    """Draw, but fail the first slice of each job."""
    draw = jobs.draw_job

    def fail_one(job, memory):
        return [CorruptError("its pixels make no sense"), *draw(job, memory)[1:]]

    jobs.draw_job = fail_one
    worker.serve(*args)


def test_a_slice_that_cannot_be_read_costs_its_picture(scanned, tmp_path, serve_with):
    roots, studies = scanned
    serve_with(serve_failing)
    assert len(drawn(tmp_path, roots, studies, workers=0, full=0)) == 10


def test_a_series_that_is_another_one_by_now_has_none(scanned, tmp_path):
    roots, studies = scanned
    sorted((roots / "a").iterdir())[2].unlink()
    assert len(drawn(tmp_path, roots, studies)) == 6
    (roots / "b.nii").unlink()
    assert drawn(tmp_path, roots, studies) == []
