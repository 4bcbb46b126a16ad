"""The markup of both forms of the report; what it does is in test_browser.py."""

import dataclasses
import re

import numpy as np
import pytest

from medscan import archive
from medscan.errors import DiskError, UsageError
from medscan.report import ReportOptions, write_html, write_report
from medscan.report import run as run_module
from medscan.results import Mark, State
from tests.report import hostile, make
from tests.report.markup import Page


def rendered(tmp_path, studies, info=None, **options):
    """The single page."""
    results = make.results(tmp_path, studies, info)
    write_html([results], tmp_path / "w.html", ReportOptions(**options))
    return Page(tmp_path / "w.html")


def written(tmp_path, studies, info=None, **options):
    """The folder, and its index."""
    results = make.results(tmp_path, studies, info)
    write_report([results], tmp_path / "out", ReportOptions(**options))
    return tmp_path / "out", Page(tmp_path / "out" / "index.html")


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return rendered(tmp_path_factory.mktemp("single"), make.few_studies())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("folder"), make.few_studies())[0]


def every_page(folder):
    return {path.name: Page(path) for path in sorted(folder.rglob("*.html"))}


def test_the_index_lists_studies_in_order_with_words(folder):
    text = Page(folder / "index.html").text
    assert "2 of 5 studies flagged, 1 not scored" in text
    order = [text.index(f"site/{key}") for key in ("aaa", "bbb", "ddd", "ccc", "eee")]
    assert order == sorted(order)
    flags = ("not flagged", "not scored", "provisional threshold")
    for words in (*flags, "more abnormal than 3 of 5 normals (expect 1 in 2 normal studies here)"):
        assert words in text
    assert "2024-01-31" in text
    assert "its header contradicts what each detector is for: series 1.2.3.9" in text


def test_the_run_page_adds_up_and_says_what_it_is(folder):
    text = Page(folder / "run.html").text
    assert "files found 60 scanned 50 skipped 8 failed 2" in text
    assert "site/a/broken.dcm read truncated" in text
    assert "skipped not-an-image not an image: text, an archive, a report, a DICOMDIR 7" in text
    assert "failed corrupt its content contradicts itself 1" in text
    assert "12 slices scored in 6 s: 2.0 per second" in text
    assert "medscan is research software and not a medical device" in text
    assert "mean of the top 5 % of its slices" in text
    for fact in ("CC BY 4.0", "d" * 64, "b" * 64, "0.1.0"):
        assert fact in text


def test_the_run_page_counts_repeated_slices(tmp_path, folder):
    said = "3 of the slices have the pixels of another slice and took its score and map"
    assert said in rendered(tmp_path, make.few_studies(), make.run(repeated=3)).text
    assert "have the pixels of another" not in Page(folder / "run.html").text


def test_a_study_page_says_what_was_scanned_and_what_was_not(folder):
    text = Page(folder / "studies" / "aaa.html").text
    assert "flagged score 0.950 , more abnormal than all 5 normals (expect 1" in text
    assert "in 2 normal studies here); rank 1 of 5" in text
    assert "MR brain FLAIR axial" in text
    times = "\N{MULTIPLICATION SIGN}"
    assert f"160 {times} 192, pixels 1 {times} 1 mm, slices 3 mm apart" in text
    assert "The patient's left is on the right, the front at the top." in text
    assert "slices: 22 scored, 2 empty (background only)" in text
    assert "0.200 typical of normals 0.500 threshold for a region 0.800 or higher" in text
    assert "Detector brain-flair Method mvfa" in text
    assert "Slice 5" not in text
    assert "No pictures: withheld: may carry burned-in text." in (
        Page(folder / "studies" / "bbb.html").text
    )
    left_out = Page(folder / "studies" / "eee.html").text
    assert (
        "series 1.2.3.9 its header contradicts what each detector is for (out-of-scope)" in left_out
    )


def test_slices_that_failed_say_why(tmp_path):
    stack = make.stack("s1", 0.9, 6)
    stack.state[2] = State.FAILED
    stack.slice_score[2] = np.nan
    failed = [(stack.path[2], "read", "truncated", "it ends at byte 9")]
    out, _ = written(tmp_path, [make.study("aaa", [stack])], make.run(failures=failed))
    assert "3 study/s1/002.dcm truncated: it ends at byte 9" in Page(out / "studies/aaa.html").text


def test_pictures_lie_beside_the_pages(folder):
    made = {p.relative_to(folder).as_posix() for p in folder.rglob("*.jpg")}
    # Three of each pictured stack, one of a stack of one slice, and icons of aaa, ccc and ddd.
    assert len(made) == 3 * 3 + 1 + 3
    for name, page in every_page(folder).items():
        base = folder if name in ("index.html", "run.html") else folder / "studies"
        sources = [i["src"] for i in page.all("img") if "src" in i and i["src"][:5] != "data:"]
        assert all((base / source).is_file() for source in sources)
        assert name == "run.html" or name in ("bbb.html", "eee.html") or sources
        assert all(i["loading"] == "lazy" for i in page.all("img") if "loading" in i)


def test_a_scan_does_not_take_a_report_for_an_archive(folder):
    found = archive.index([folder])
    assert found.studies == ()
    reasons = {o.file.path.rsplit(".")[-1]: str(o.reason) for o in found.set_aside}
    assert reasons["jpg"] == "derived"


def test_nothing_but_its_own_files_may_load(folder, single):
    for page in [*every_page(folder).values(), single]:
        (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
        assert policy.startswith("default-src 'none'; base-uri 'none'; form-action 'none'; img-src")
        assert "unsafe" not in policy
        assert "*" not in policy
        for _, attrs in page.tags:
            assert not any(name.startswith("on") or name == "style" for name in attrs)
            assert not re.match(r"\w+:|//", attrs.get("href") or "")
            assert not re.match(r"(?!data:)\w+:|//", attrs.get("src") or "")
    assert not single.all("link")
    assert [s for s in single.all("script") if "src" in s] == []


def test_links_lead_somewhere_and_tables_are_named(folder, single):
    for page in [*every_page(folder).values(), single]:
        ids = [a["id"] for _, a in page.tags if "id" in a]
        assert len(set(ids)) == len(ids)
        anchors = {a["href"][1:] for a in page.all("a") if a.get("href", "").startswith("#")}
        assert anchors <= set(ids)
        assert {a["aria-labelledby"] for _, a in page.tags if "aria-labelledby" in a} <= set(ids)
        assert page.source.count("<caption>") == len(page.all("table"))
        assert page.all("html")[0]["lang"] == "en"
    for name, page in every_page(folder).items():
        base = folder if name in ("index.html", "run.html") else folder / "studies"
        links = [a["href"] for a in page.all("a") if not a.get("href", "#").startswith("#")]
        assert all((base / link).is_file() for link in links)


def test_hostile_text_is_inert(tmp_path):
    out, _ = written(tmp_path, hostile.studies(), hostile.run())
    page = rendered(tmp_path, hostile.studies(), hostile.run())
    for shown in [page, *every_page(out).values()]:
        kinds = {s.get("type", "code") for s in shown.all("script")}
        assert kinds <= {"code", "application/json"}
        assert not any(name.startswith("on") for _, attrs in shown.tags for name in attrs)
        assert not set("\u202e\u2066\x1b") & set(shown.source)
        assert "A" * 400 not in shown.source
        assert "B" * 400 not in shown.source
    text = Page(out / "index.html").text
    assert "<script>document.title" in text  # shown, as text
    assert "\\u202egnp.exe\\u2066" in text
    assert "\\udcff\\x1b[31m" in text
    # A study whose key is no name gets one that stays in the folder.
    assert {p.name for p in out.iterdir()} == {
        *("index.html", "run.html", "style.css", "script.js", "studies")
    }
    assert all(p.parent.parent == out / "studies" for p in out.rglob("*.jpg"))


def test_a_report_is_replaced_and_what_is_not_in_it_goes(tmp_path):
    out, _ = written(tmp_path, make.few_studies())
    (out / "studies" / "mine.txt").write_text("kept")
    (out / "studies" / "aaa" / "notes.jpg.txt").write_text("kept")
    (tmp_path / "results.h5").unlink()
    out, page = written(tmp_path, make.few_studies()[2:])
    assert "0 of 3 studies flagged" in page.text
    left = {p.relative_to(out / "studies").as_posix() for p in (out / "studies").rglob("*")}
    assert {name for name in left if name.startswith(("aaa", "bbb", "mine"))} == {
        *("mine.txt", "aaa", "aaa/notes.jpg.txt")
    }
    assert not list(out.rglob("*.part"))


def test_a_report_that_was_cut_short_is_finished(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    for name in ("index.html", "run.html"):
        write_report([results], tmp_path / "out")
        (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / "index.html").unlink()
    write_report([results], tmp_path / "out")
    assert (tmp_path / "out" / "index.html").is_file()


def test_another_folder_is_left_alone(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no report"):
        write_report([results], tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    (tmp_path / "out" / "index.html").write_text("<h1>My thesis</h1>")
    with pytest.raises(UsageError, match="holds no report"):
        write_report([results], tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="could not be made"):
        write_report([results], tmp_path / "file")


def test_the_single_page_holds_the_worst_and_lists_the_rest(tmp_path):
    page = rendered(tmp_path, make.few_studies(), most=1)
    assert "of 1 of 5 studies" in page.text
    assert len([d for d in page.all("details") if d.get("class") == "study"]) == 1
    assert [a["href"] for a in page.all("a") if a.get("href", "").startswith("#study")] == [
        "#study-aaa"
    ]
    assert "site/ddd" in page.text


def test_flagged_studies_come_before_higher_scores(tmp_path):
    calm = make.study("aaa", [make.stack("s1", 0.9, threshold=0.95)])
    flagged = make.study("bbb", [make.stack("s1", 0.7)])
    page = rendered(tmp_path, [calm, flagged], most=1)
    assert "#study-bbb" in page.source
    assert "#study-aaa" not in page.source


def test_tables_of_files_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "LISTED", 1)
    assert "; 1 more are in the results file" in rendered(tmp_path, make.few_studies()).text


def test_a_run_that_was_given_twice_counts_once(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    copy = make.results(tmp_path, make.few_studies(), name="copy.h5")
    later = make.results(tmp_path, [], make.run(created="2026-02-01"), name="later.h5")
    write_html([results, copy], tmp_path / "twice.html")
    twice = Page(tmp_path / "twice.html").text
    assert "files found 60 scanned 50 skipped 8 failed 2" in twice
    assert "a file that several runs found" not in twice
    write_html([results, later], tmp_path / "two.html")
    assert "Totals of 2 runs: a file that several runs found is counted in each." in (
        Page(tmp_path / "two.html").text
    )


def test_an_empty_result_is_a_page(tmp_path):
    counts = dict.fromkeys(("files", "scanned", "skipped", "failed"), 0)
    empty = make.run(detectors=[], counts=counts, failures=[], skipped=[])
    assert "No study is in the results." in rendered(tmp_path, [], empty).text
    assert "No study is in the results." in written(tmp_path, [], empty)[1].text


def test_a_detector_that_was_not_calibrated(tmp_path):
    nan = float("nan")
    card = make.DETECTOR | {"threshold": nan, "map_low": nan, "map_high": nan, "normals": []}
    stack = make.stack("s1", 0.9, 5, threshold=nan, slice_threshold=nan, provisional=True)
    out, index = written(tmp_path, [make.study("aaa", [stack])], make.run(detectors=[card]))
    page = Page(out / "studies" / "aaa.html")
    assert "no calibrated colour scale" in page.text
    for shown in (page, index, Page(out / "run.html")):
        assert "nan" not in shown.text.lower()
        assert "NaN" not in shown.source


def test_a_stack_of_a_detector_that_the_file_does_not_name(tmp_path):
    stack = make.stack("s1", 0.9, 5)
    out, _ = written(tmp_path, [make.study("aaa", [stack])], make.run(detectors=[]))
    assert "which the results do not describe" in Page(out / "studies" / "aaa.html").text
    assert "Nothing was scored." in Page(out / "run.html").text


def test_a_stack_without_a_scored_slice_beside_one_with(tmp_path):
    dark = make.stack("s2", n=3, pictures=0)
    dark.slice_score[:] = np.nan
    dark.state[:] = State.BACKGROUND
    dark = dataclasses.replace(dark, score=float("nan"), percentile=float("nan"))
    out, _ = written(tmp_path, [make.study("aaa", [make.stack("s1", n=3), dark])])
    text = Page(out / "studies" / "aaa.html").text
    assert "No pictures: no slice was scored." in text
    assert "slices: 3 empty (background only)" in text


def test_marks_of_later_scans_are_shown(tmp_path):
    stack = make.stack("s1", 0.9, 5)
    mark = Mark(stale=True, absent="2026-01-05T00:00:00+00:00")
    study = dataclasses.replace(make.study("aaa", [stack]), mark=mark)
    _, page = written(tmp_path, [study])
    assert (
        "outdated: scored by an earlier detector or version; files missing since 2026-01-05"
        in page.text
    )


def test_same_results_give_the_same_page(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    for name in ("a.html", "b.html"):
        write_html([results], tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_no_folder_is_a_disk_error(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    with pytest.raises(DiskError, match=r"w\.html"):
        write_html([results], tmp_path / "none" / "w.html")
