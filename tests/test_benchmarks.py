"""Benchmarks run to their end at their smallest size; some have tests of their own elsewhere."""

import re
from pathlib import Path

import pytest

from tests import processes, tiny
from tests.benchmarks import (
    air,
    damage,
    few_shot,
    index_speed,
    kills,
    model_speed,
    month,
    nights,
    precision,
    report_size,
    same_results,
    sizes,
)

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(monkeypatch, capsys):
    def called(main, *words):
        monkeypatch.setattr("sys.argv", ["benchmark", *map(str, words)])
        main()
        return capsys.readouterr().out

    return called


def test_index_speed(run):
    told = run(index_speed.main, "--files", 40, "--rounds", 1, "--workers", 1)
    assert re.search(r"warm / cold, 1 workers: \d", told)


def test_model_speed(run, backbone_folder):
    words = ("--backbone", f"local-dir:{backbone_folder}", "--batch", 2, "--turns", 1)
    told = run(model_speed.main, *words, "--lanes", 0)
    assert re.search(r"madclip: .* times the authors' loop", told)
    assert re.search(r"mvfa: .* times the authors' loop", told)


def test_few_shot(run, backbone_folder, tmp_path):
    data = tiny.write_pictures(tmp_path / "heads", patients=2, tests=2)
    words = ("--backbone", f"local-dir:{backbone_folder}", "--shots", 2, "--seeds", 0, 1)
    told = run(few_shot.main, data, *words, "--set", "epochs=1")
    assert "over 2 seeds" in told.splitlines()[-1]


def test_sizes(run, backbone_folder, tmp_path):
    data = tiny.write_pictures(tmp_path / "heads", patients=2, tests=2)
    words = ("--backbone", f"local-dir:{backbone_folder}", "--shots", 2, "--seeds", 0)
    told = run(sizes.main, data, *words, "--views", "32x2", "--out", tmp_path / "cells.json")
    rows = [line.split(" | ")[1:3] for line in told.splitlines()[-2:]]
    assert rows == [["patchcore", "32x2"], ["discriminant", "32x2"]]


def test_a_night(run):
    told = run(nights.main, "night", "--files", 40, "--rounds", 1)
    assert "os.walk" in told


def test_a_month(run, detector_file, tmp_path):
    """Of two nights, too few for an alarm."""
    tiny.write_nifti(tmp_path / "head.nii.gz", tiny.head_volume(1, slices=12))
    words = ("--volumes", tmp_path, "--detector", detector_file)
    told = run(month.main, *words, "--studies", 1, "--nights", 2, "--changed", 2)
    assert "\n10 stacks in " in told
    assert told.endswith("\nnight 2: no alarm\n")


def test_report_size(run):
    told = run(report_size.main, "--studies", 4, "--rounds", 0)
    assert "single page written" in told


def test_precision(run, detector_file, tmp_path):
    data = tiny.write_pictures(tmp_path / "data", 3, tests=2)
    tiny.make_others(data)
    told = run(precision.main, f"{detector_file}={data}", "--slices", 40, "--ways", "torch,bf16")
    full, low = [line.split() for line in told.splitlines()[2:]]
    assert (full[0], full[5:9]) == ("torch,fp32", ["0", "of", "10", "0.0e+00"])
    assert low[0] == "torch,bf16"
    assert float(low[8]) > 0


def test_same_results(tmp_path, capsys):
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "worklist.csv").write_text("rank,study\n1,a\n")
    assert same_results.main(tmp_path / "before", tmp_path / "after") == 0
    (tmp_path / "after" / "worklist.csv").write_text("rank,study\n1,b\n")
    assert same_results.main(tmp_path / "before", tmp_path / "after") == 1
    assert "worklist.csv" in capsys.readouterr().out


def test_damage(run):
    assert run(damage.main, "--mutations", 1).startswith("1 mutations: 0 lost, 0 hung, 0 with")


def test_kills(run):
    told = run(kills.main, "--kills", 1, "--studies", 2)
    assert told.startswith("killed: {'index': 1}; damaged: 0; lost: 0; left over: []")


LONG = {
    "end_to_end.py": "--studies 1 --turns 1 --sample 8 --detector {detector}",
    "runtimes.py": "--studies 1 --turns 1 --detector {detector} --ways openvino,fp32 "
    "--before {root}",
    "stages.py": "--studies 3 --rounds 1",
    "million.py": "--studies 40 --shards 2",
    "hostile_detectors.py": "--count 1",
    "backbone_speed.py": "--threads 1 --turns 1 --batch 1",
}
"""Scripts that begin processes or change the one that they are in."""


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_a_long_one(name, without_torch, detector_file, tmp_path):
    words = LONG[name].format(detector=detector_file, root=ROOT).split()
    script = ROOT / "tests" / "benchmarks" / name
    done = processes.Command(words, without_torch, tmp_path, script).wait(280)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_air(run, detector_file, pictures):
    told = run(air.main, f"{detector_file}={pictures}")
    assert re.match(r"tiny-flair: \d+\.\d % of patches dark in \d+ slices \(", told)
