"""What a report replaces in its folder, and what it leaves alone."""

import pytest

from medscan.errors import DiskError, UsageError
from medscan.report import remove_old_tables, write_csv, write_report, write_single
from medscan.report.cleanup import remove_old_pages
from tests.report import make


@pytest.fixture
def results(tmp_path):
    return make.results(tmp_path, make.few_studies()[:2])


def names(out):
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def test_a_report_that_was_killed_at_once_is_taken_over(results, tmp_path):
    out = tmp_path / "out"
    (out / "studies").mkdir(parents=True)
    for name in (".style.css.4711.part", "studies/.aaa.html.4711.part"):
        (out / name).write_text("half")
    write_report([results], out)
    assert not [name for name in names(out) if name.endswith(".part")]


def test_other_unfinished_files_are_not_ours(results, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".thesis.txt.4711.part").write_text("half")
    with pytest.raises(UsageError, match="holds no report"):
        write_report([results], tmp_path / "out")


def test_what_a_user_keeps_beside_the_pages_stays(results, tmp_path):
    out = tmp_path / "out"
    write_report([results], out)
    (out / "studies" / "mine").mkdir()
    (out / "studies" / "folder.html").mkdir()
    mine = {"studies/notes.html", "studies/mine/photo-0001.jpg", "studies/mine/.photo.9.part"}
    for name in mine:
        (out / name).write_text("mine")
    (out / "studies" / "old.html").write_bytes((out / "studies" / "aaa.html").read_bytes())
    write_report([results], out)
    assert mine <= names(out)
    assert "studies/old.html" not in names(out)


def test_what_cannot_be_removed_is_a_disk_error(results, tmp_path, monkeypatch):
    write_report([results], tmp_path / "out")

    def refuse(self, **_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    with pytest.raises(DiskError, match="could not be tidied: Permission denied"):
        remove_old_pages(tmp_path / "out", set())


def test_a_single_page_takes_the_place_of_a_folder(results, tmp_path):
    out = tmp_path / "out"
    write_report([results], out)
    (out / "thesis.txt").write_text("mine")
    write_single([results], out)
    assert names(out) == {"index.html", "thesis.txt"}
    assert not (out / "studies").exists()


def test_tables_that_were_not_asked_for_again_go(results, tmp_path):
    out = tmp_path / "out"
    write_single([results], out)
    for table in ("results", "series", "slices"):
        write_csv([results], out / f"{table}.csv", table)
    (out / "series.jsonl").write_text('{"patient": "mine"}\n')
    remove_old_tables(out, {out / "results.csv"})
    assert names(out) == {"index.html", "results.csv", "series.jsonl"}
