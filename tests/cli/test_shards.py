"""`medscan scan --shard` and `medscan plan`, and the job of Slurm that their pages show."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medscan import results
from tests import tiny

PAGE = Path(__file__).parents[2] / "man" / "medscan-plan.1"
BATCH, START = (
    block.replace("\\e", "\\")
    for block in re.findall(r"^\.Bd .*?\n(.*?)^\.Ed$", PAGE.read_text("utf-8"), re.M | re.S)
)
"""The scripts of the manual page: a job of Slurm with one task per shard, and how to submit it."""


@pytest.fixture
def archive(tmp_path):
    for n in range(6):
        volume = tiny.head_volume(n, slices=2)
        tiny.write_series(tmp_path / "archive" / str(n), volume, study=f"1.2.{n + 8}")
    (tmp_path / "archive" / "notes.txt").write_text("no image")
    return tmp_path / "archive"


@pytest.fixture
def words(archive, detector_file):
    return (archive, "--detector", detector_file, "--device", "cpu", "--workers", 0)


@pytest.mark.parametrize("wrong", ["0/4", "5/4", "0/0", "1", "a/b", "-1/4", "1/4/2", "1/٤"])
def test_what_is_no_share_is_one_line(inside, words, wrong):
    code, out, err = inside("scan", *words, f"--shard={wrong}", "--key-file", "key")
    assert (code, out) == (2, "")
    assert err.startswith(f"medscan: --shard {wrong}: I/N") or "\\u0664" in err
    assert len(err.splitlines()) == 1


def test_shards_and_their_report(inside, words, tmp_path):
    key = ("--key-file", "key")
    code, out, _ = inside("plan", *words, "--shards", 3)
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert [row[0] for row in rows[:5]] == ["shard", "1/3", "2/3", "3/3", "all"]
    assert rows[4][1:4] == ["6", "6", "12"]
    code, out, _ = inside("plan", *words, "--shards", 3, "--json")
    told = json.loads(out)
    assert [share["shard"] for share in told["shards"]] == ["1/3", "2/3", "3/3"]
    assert told["total"]["slices"] == 12
    assert list((tmp_path / "work").iterdir()) == []
    for n, share in enumerate(told["shards"], 1):
        scan = ("scan", *words, *key, "--shard", f"{n}/3", "--out", f"s{n}.h5")
        code, out, _ = inside(*scan, "--dry-run", "--json")
        assert json.loads(out)["slices"] == share["slices"]
        code, out, _ = inside(*scan)
        assert code == 0
        assert out.startswith(f"shard {n}/3: {share['studies']} studies scanned")
    command = results.open(tmp_path / "work" / "s2.h5").run().command
    shared = "--detector tiny-flair.safetensors --shard 2/3 --out s2.h5 --key-file key --device cpu"
    assert command == f"medscan scan ARCHIVE {shared} --workers 0"
    code, _, err = inside("report", "s1.h5", "s3.h5", "--out", "some")
    assert (code, err) == (0, "medscan: not in this report: shards 2/3\n")
    code, _, err = inside("report", "s1.h5", "s2.h5", "s3.h5", "--out", "all")
    assert (code, err) == (0, "")
    assert len((tmp_path / "work" / "all" / "results.csv").read_text().splitlines()) == 7
    code, out, err = inside("scan", *words, *key, "--shard", "1/4", "--out", "s1.h5")
    assert (code, out) == (2, "")
    assert err == "medscan: s1.h5 holds shard 1/3: scan that again, or choose another --out\n"


def test_a_shard_without_a_key_for_all_is_refused(inside, words):
    code, _, err = inside("scan", *words, "--shard", "1/3")
    assert code == 2
    assert err == "medscan: --shard needs --key-file: one file, the same for all shards\n"


def test_a_plan_counts_what_the_bounds_let_through(inside, detector_file, tmp_path):
    for number, slices in enumerate((2, 5)):
        volume = tiny.head_volume(number, slices=slices)
        tiny.write_series(tmp_path / f"{number}", volume, study=f"1.{number}")
    words = ("plan", tmp_path, "--shards", 1, "--detector", detector_file, "--json")
    bounds = ((), ("--max-study-planes", 4), ("--min-side", 1000), ("--max-file-planes", 1))
    found = [json.loads(inside(*words, *more)[1])["shards"][0]["slices"] for more in bounds]
    assert found == [7, 2, 0, 7]


def test_a_plan_of_a_missing_archive(inside, detector_file):
    code, _, err = inside("plan", "nowhere", "--shards", 2, "--detector", detector_file)
    assert code == 2
    assert err == "medscan: nowhere does not exist; name a folder or file to scan\n"


SHARDS = 2
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@needs_bash
@pytest.mark.parametrize("script", [BATCH, START])
def test_bash_can_read_what_the_page_shows(script):
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_bash
@pytest.mark.slow
def test_what_the_page_shows_scans_all(archive, detector_file, without_torch, tmp_path):
    """With stand-ins for Slurm: `srun` runs a command, `sbatch` all tasks of a script in turn."""
    here = tmp_path / "scratch"
    for folder in (here, tmp_path / "bin"):
        folder.mkdir()
    detector = f"--detector {detector_file} --device cpu"
    script(tmp_path / "bin" / "srun", 'exec "$@"')
    script(
        tmp_path / "bin" / "medscan",
        f'w=$1; shift; case $w in scan|plan) set -- "$@" {detector};; esac',
        f'exec {sys.executable} -m medscan $w "$@"',
    )
    script(
        tmp_path / "bin" / "sbatch",
        'case $1 in --dependency=afterok:7) eval "$3"; exit;; esac',
        f"export SLURM_ARRAY_TASK_COUNT={SHARDS} SLURM_CPUS_PER_TASK=1",
        f"for n in $(seq {SHARDS}); do SLURM_ARRAY_TASK_ID=$n bash $2 >&2 || exit; done",
        "echo 7",
    )
    (here / "medscan.sh").write_text(_placed(BATCH, tmp_path))
    done = subprocess.run(
        ["bash", "-eu", "-c", _placed(START, tmp_path)],
        env=without_torch | {"PATH": f"{tmp_path / 'bin'}:{without_torch['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = [results.open(here / f"shard-{n}.h5") for n in range(1, SHARDS + 1)]
    assert sum(len(found.keys()) for found in made) == 6
    assert len((here / "report" / "results.csv").read_text().splitlines()) == 7


def script(path, *lines):
    path.write_text("\n".join(["#!/bin/bash", *lines, ""]))
    path.chmod(0o755)


def _placed(text, tmp_path):
    """With the folders and the number of shards of this test."""
    text = text.replace("/scratch/medscan", str(tmp_path / "scratch"))
    text = text.replace("scan /archive", f"scan {tmp_path / 'archive'}")
    return text.replace("plan /archive", f"plan {tmp_path / 'archive'}").replace(
        "--shards 16", f"--shards {SHARDS}"
    )
