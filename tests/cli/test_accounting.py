"""`--accounting`, `--settle` and the limits on one file, as a user gives them."""

import csv
import json
import os
import time

import pytest

from medscan.cli import main
from tests import tiny


@pytest.fixture
def medscan(tmp_path, monkeypatch, capfd):
    """Runs medscan in this process, in an empty folder: code, standard output and error."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["medscan", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capfd.readouterr()
        return ended.value.code or 0, told.out, told.err

    return run


def rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def old(folder):
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 4000,) * 2)


def test_every_file_has_a_row_with_and_without_a_scan(medscan, detector_file, tmp_path):
    tiny.write_series(tmp_path / "archive" / "a", tiny.head_volume(1), study="1.2")
    (tmp_path / "archive" / "notes\n.txt").write_text("no image")
    words = ("scan", "archive", "--detector", detector_file, "--accounting", "files.csv")
    words += ("--no-hash-paths",)
    code, out, _ = medscan(*words, "--dry-run", "--json")
    assert code == 0
    assert "entries" not in json.loads(out)
    assert not (tmp_path / "results.h5").exists()
    foreseen = rows(tmp_path / "files.csv")
    (tmp_path / "files.csv").unlink()
    code, out, err = medscan(*words, "--json")
    assert (code, err) == (0, "")
    assert rows(tmp_path / "files.csv") == foreseen
    told = json.loads(out)
    assert "entries" not in told
    assert sum(told["files"].values()) == len(foreseen) == 7
    assert foreseen[-1]["path"] == "notes\\n.txt"
    before = (tmp_path / "files.csv").read_bytes()
    assert medscan(*words)[0] == 0
    assert (tmp_path / "files.csv").read_bytes() == before


def test_a_study_that_arrives_waits(medscan, detector_file, tmp_path):
    tiny.write_series(tmp_path / "archive" / "a", tiny.head_volume(1), study="1.2")
    tiny.write_series(tmp_path / "archive" / "b", tiny.head_volume(2), study="1.3")
    old(tmp_path / "archive" / "a")
    words = ("scan", "archive", "--detector", detector_file, "--accounting", "files.csv")
    code, out, _ = medscan(*words, "--settle", "15m", "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["scanned"], told["arriving"], told["reasons"]["arriving"]) == (1, 1, 6)
    assert {row["study"] for row in rows(tmp_path / "files.csv") if row["reason"]} == {"1.3"}
    assert json.loads(medscan(*words, "--settle", "0", "--json")[1])["scanned"] == 1


def test_a_file_over_the_limit_is_told(medscan, detector_file, tmp_path):
    tiny.write_series(tmp_path / "archive", tiny.head_volume(1), study="1.2")
    words = ("scan", "archive", "--detector", detector_file, "--accounting", "files.csv")
    code, out, _ = medscan(*words, "--max-file-gib", "0.000001", "--file-timeout", "60")
    assert (code, "6 failed" in out) == (3, True)
    assert {row["reason"] for row in rows(tmp_path / "files.csv")} == {"too-large"}


@pytest.mark.parametrize(
    "wrong",
    [
        ("--settle", "15"),
        ("--settle", "soon"),
        ("--settle=-5m",),
        ("--settle", "nans"),
        ("--file-timeout", "0"),
        ("--file-timeout", "nan"),
        ("--max-file-gib", "0"),
        ("--max-file-gib", "nan"),
        ("--max-file-gib", "inf"),
        ("--accounting", "nowhere/files.csv"),
        ("--accounting", "archive"),
        ("--accounting", "results.csv"),
    ],
    ids="=".join,
)
def test_mistakes_are_one_line_and_write_nothing(medscan, wrong, detector_file, tmp_path):
    (tmp_path / "archive").mkdir()
    code, out, err = medscan("scan", "archive", "--detector", detector_file, *wrong)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("90s", 90), ("15m", 900), ("1.5h", 5400), ("2d", 172800)]
)
def test_times(text, expected):
    from medscan.cli.options import duration

    assert duration("--settle")(text) == expected
