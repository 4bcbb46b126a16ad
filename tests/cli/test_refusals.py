"""What cannot work ends with one short line and the status that the manual gives it."""

import os
import resource
import shlex
import signal
from pathlib import Path

import pytest

from medscan.errors import UsageError
from medscan.imaging import parse_rule
from medscan.scanning import scan
from tests import tiny

LONG = "x\x1b[31m\n" * 1_000


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "data", "--window", LONG),
        ("scan", "a", "--device", LONG),
        ("scan", "a", "--batch-size", LONG),
        ("scan", "a", "--shard", LONG),
        ("scan", "a", "--until", LONG),
        ("scan", "a", "--engine", "ray", "--address", LONG),
        ("scan", "a", "--detector", LONG.replace("\n", "")),
        ("fit", "data", "--method", LONG),
    ],
)
def test_a_value_is_shown_cut_and_harmless(inside, detector_file, words):
    tiny.write_pictures(Path("data"), 2)
    tiny.write_series(Path("a"), tiny.head_volume(1, slices=2))
    more = () if "--detector" in words or words[0] == "fit" else ("--detector", detector_file)
    code, _, err = inside(*words, *more)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert len(err) < 1000
    assert "\x1b" not in err


@pytest.mark.parametrize(
    "words",
    [
        ("LONG",),
        ("--LONG",),
        ("scan", "--LONG"),
        ("scan", "a", "--order", "LONG"),
        ("scan", "a", "--workers", "LONG"),
        ("doctor", "LONG"),
        ("weights", "LONG"),
        ("weights", "verify", "--LONG"),
    ],
)
@pytest.mark.parametrize("long", ["X" * 200_000, "X y " * 50_000, "\x1b[31m" * 40_000])
def test_words_that_mean_nothing_are_shown_cut_and_harmless(inside, words, long):
    code, _, err = inside(*(word.replace("LONG", long) for word in words))
    assert code == 2
    assert "Error: " in err
    assert len(err) < 1000
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("scan ''", "archive"),
        ("scan a '' b", "archive"),
        ("scan a --out ''", "--out"),
        ("scan a --detector=", "--detector"),
        ("evaluate d ''", "data"),
        ("report r.h5 --archive ''", "--archive"),
        ("ledger show ''", "results"),
        ("weights import ''", "file"),
    ],
)
def test_an_empty_path_is_not_the_current_folder(inside, line, name):
    assert inside(*shlex.split(line)) == (2, "", f"medscan: {name} is empty: name a path\n")
    assert list(Path().iterdir()) == []


def test_help_and_an_empty_variable_are_no_empty_paths(inside, monkeypatch):
    monkeypatch.setenv("MEDSCAN_KEY_FILE", "")
    assert inside("scan", "", "--help")[0] == 0
    assert "does not exist" in inside("scan", "nowhere")[2]


def test_a_window_rule_is_shown_cut():
    with pytest.raises(UsageError) as refused:
        parse_rule("window:" + "1" * 200_000)
    assert len(str(refused.value)) < 300


def test_too_few_open_files_are_refused_with_a_line(inside, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (12, 4096))
    code, _, err = inside("doctor")
    assert (code, len(err.splitlines())) == (1, 1)
    assert "ulimit -n 64" in err


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--log-file", "r.h5.ledger"),
        ("--log-file", "r.csv"),
        ("--ledger", "none/ledger"),
        ("--key-file", "none/key"),
        ("--ledger", "same", "--key-file", "same"),
        ("--accounting", "k.csv", "--key-file", "k.csv"),
    ],
)
def test_a_dry_run_refuses_what_the_scan_refuses(
    inside, detector_file, tmp_path, monkeypatch, words
):
    monkeypatch.setattr("medscan.detector.folders", list)
    tiny.write_series(tmp_path / "a", tiny.head_volume(1, slices=2))
    detectors = ("--detector", detector_file) if words else ()
    scan_words = ("scan", tmp_path / "a", *detectors, "--out", "r.h5", *words)
    dry, real = inside(*scan_words, "--dry-run"), inside(*scan_words)
    assert dry == real
    assert dry[0] == 2
    assert os.listdir() == []  # noqa: PTH208 - the working folder


@pytest.mark.parametrize("option", ["--ledger", "--log-file", "--history", "--key-file"])
@pytest.mark.parametrize("name", ["a/image.dcm", "a/side.json"])
def test_no_output_touches_a_file_of_the_archive(inside, detector_file, tmp_path, option, name):
    tiny.write_series(tmp_path / "work" / "a", tiny.head_volume(1, slices=1))
    Path("a/0000").rename("a/image.dcm")
    Path("a/side.json").write_text('{"EchoTime": 0.1}')
    before = {path.name: path.read_bytes() for path in Path("a").iterdir()}
    code, out, err = inside("scan", "a", "--detector", detector_file, option, name)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert name in err
    assert {path.name: path.read_bytes() for path in Path("a").iterdir()} == before
    assert option == "--key-file" or os.listdir() == ["a"]  # noqa: PTH208 - the working folder


@pytest.mark.parametrize(
    "line",
    [
        "fit man.csv --out man.csv",
        "fit data --out data/cases.csv",
        "fit --archive data --labels man.csv --out link.csv",
        "refit d.safetensors man.csv --results r.h5 --archive data --out man.csv",
        "refit d.safetensors man.csv --results r.h5 --archive data --out d.safetensors",
        "evaluate d.safetensors man.csv --csv man.csv",
        "evaluate d.safetensors man.csv --json d.safetensors",
        "evaluate d.safetensors data --csv data/cases.csv",
        "evaluate d.safetensors man.csv --json new.csv --csv new.csv",
        "export d.safetensors --to onnx --out d.safetensors",
        "optimise d.safetensors --data man.csv --out man.csv",
        "accept d.safetensors --archive data --labels man.csv --choose rate=0.1 --write man.csv",
        "monitor site.history --out site.history",
        "monitor site.history --decisions man.csv --out man.csv",
        "scan data --detector d.safetensors --out d.safetensors",
    ],
)
def test_no_command_overwrites_what_it_reads(inside, detector_file, line):
    Path("data").mkdir()
    for name in ("man.csv", "data/cases.csv", "r.h5", "site.history"):
        Path(name).write_text("path,label\n")
    os.link("man.csv", "link.csv")
    Path("d.safetensors").write_bytes(detector_file.read_bytes())
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    words = line.split()
    code, out, err = inside(*words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert words[-2] in err
    assert words[-1] in err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("content", [b"", b"x" * 4096])
@pytest.mark.parametrize("command", ["show", "retry"])
def test_a_damaged_ledger_is_not_an_empty_one(inside, content, command, tmp_path):
    path = tmp_path / "work" / "r.h5.ledger"
    path.write_bytes(content)
    code, out, err = inside("ledger", command, "r.h5")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert str(path.name) in err
    assert path.read_bytes() == content


def test_a_signal_during_publication_is_reported(options, root):
    tiny.write_series(root / "a", tiny.head_volume(1, slices=2))

    def publish(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    summary = scan(options, publish=publish)
    assert (summary.scanned, summary.left, summary.stopped) == (1, 0, "SIGTERM")
