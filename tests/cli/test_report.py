"""`medscan report` as a user runs it."""

from pathlib import Path

import pytest

from tests.report import make


def test_a_folder_beside_the_results_with_tables(medscan, tmp_path):
    make.results(tmp_path, make.few_studies(), name="night.h5")
    tables = ("--series", "--slices", "--regions", "--jsonl")
    done = medscan("report", "night.h5", "--compare", "night.h5", *tables)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "open night.report/index.html\n"
    assert {p.name for p in (tmp_path / "night.report").iterdir()} == {
        *("index.html", "run.html", "style.css", "script.js", "studies"),
        *("results.csv", "series.csv", "slices.csv", "regions.csv"),
        *("results.jsonl", "series.jsonl", "slices.jsonl", "regions.jsonl"),
    }
    again = medscan("report", "night.h5", "--single-file", "--pictures", "1", "--out", "mail")
    assert again.returncode == 0, again.stderr
    assert {p.name for p in (tmp_path / "mail").iterdir()} == {"index.html", "results.csv"}
    again = medscan("report", "night.h5", "--single-file")
    assert again.returncode == 0, again.stderr
    assert {p.name for p in (tmp_path / "night.report").iterdir()} == {"index.html", "results.csv"}


def test_a_table_with_a_column_of_verdicts_is_read(medscan, tmp_path):
    """Both tables that name slices or studies do, once somebody added that column."""
    make.results(tmp_path, make.few_studies(), name="night.h5")
    assert medscan("report", "night.h5", "--slices").returncode == 0
    for table, hint in (
        ("results", "1 of 1 (100 %) flagged"),
        ("slices", "no study judged abnormal"),
    ):
        head, first, *rest = (tmp_path / "night.report" / f"{table}.csv").read_text().splitlines()
        word = "abnormal" if table == "results" else "normal"
        rows = [f"{head},verdict", f"{first},{word}", *(f"{row}," for row in rest)]
        (tmp_path / "mine.csv").write_text("\n".join(rows))
        done = medscan("report", "night.h5", "--decisions", "mine.csv", "--out", "judged")
        assert (done.returncode, done.stderr) == (0, "")
        assert hint in (tmp_path / "judged" / "run.html").read_text()


def test_an_archive_that_is_another_one_is_told(medscan, tmp_path):
    make.results(tmp_path, make.few_studies()[:1], name="night.h5")
    (tmp_path / "other").mkdir()
    (tmp_path / "night.h5.key").write_text("5a" * 32)
    for more in ((), ("--single-file",)):
        done = medscan("report", "night.h5", "--archive", "other", *more)
        assert (done.returncode, done.stdout) == (3, "open night.report/index.html\n")
        (line,) = done.stderr.splitlines()
        assert line == "medscan: 1 of 1 studies are not in --archive, or have changed there"


def test_mistakes_are_one_line_and_write_nothing(medscan, tmp_path):
    make.results(tmp_path, make.few_studies()[:1], name="night.h5")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    (tmp_path / "zzz.csv").write_text("study,verdict\naaa,normal\nzzz,normal\n")
    for words, hint in (
        (("--pictures", "most"), "--pictures most: a whole number, or all"),
        (("--full-slices", "-1"), "--full-slices -1: a whole number, or all or flagged"),
        (("--archive", "gone"), "--archive gone does not exist"),
        (("--compare", "old.h5"), "old.h5 does not exist"),
        (("--decisions", "none.csv"), "none.csv does not exist or is not a file"),
        (("--decisions", "mine/thesis.txt"), "mine/thesis.txt row 1: it must name the columns"),
        (("--decisions", "zzz.csv"), "zzz.csv row 3: the results have no study 'zzz'"),
        (("--out", "mine", "--single-file"), "mine is not empty and holds no report"),
    ):
        done = medscan("report", "night.h5", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert hint in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert {p.name for p in tmp_path.iterdir()} == {"night.h5", "mine", "zzz.csv"}
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("window", ["CT", "=voi", "CT=", "CT=narrow", "CT=window:9,1", "\x1b[31m"])
def test_a_window_that_is_none_is_refused_in_a_line(inside, tmp_path, window):
    results = make.results(tmp_path, make.few_studies())
    code, out, err = inside("report", results.path, "--window", window)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "window" in err
    assert "\x1b" not in err
    assert list(Path().iterdir()) == []
