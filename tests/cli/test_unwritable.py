"""Outputs that cannot be written: what a person must hear is said all the same, in lines."""

import os
import subprocess

import pytest

from medscan import results
from tests import tiny
from tests.cli.conftest import MEDSCAN

LONG = 250 * "a"
"""A name that is a good one until something is written beside it."""
FAULT = "files or folders that fail now: 1 truncated"
FULL = "medscan: standard output could not be written: No space left on device\n"


@pytest.fixture
def words(tmp_path, detector_file):
    """A scan of an archive with a broken file."""
    volume = tiny.head_volume(1, slices=3)
    tiny.write_series(tmp_path / "archive", volume, study="1.2")
    _, broken, _ = sorted((tmp_path / "archive").iterdir())
    broken.write_bytes(broken.read_bytes()[:-300])
    return ("scan", tmp_path / "archive", "--detector", detector_file, "--workers", "0")


@pytest.mark.parametrize(
    ("option", "name"), [("--accounting", f"{LONG}.csv"), ("--history", f"{LONG}.h")]
)
def test_an_output_that_cannot_be_written_hides_nothing(inside, words, option, name):
    code, out, err = inside(*words, option, name)
    problem, fault = err.splitlines()
    assert code == 1
    assert "aaaaa" in problem
    assert fault.startswith(f"medscan: {FAULT}")
    assert "1 studies scanned" in out
    assert len(results.open("results.h5").keys()) == 1
    assert inside(*words)[::2] == (0, "")


needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110


def printing_to(device, words, environment, folder):
    """Run medscan with its standard output on a device: exit status and standard error."""
    with open(device, "wb") as out:  # noqa: PTH123
        done = subprocess.run(
            [*MEDSCAN, *map(str, words)],
            stdout=out, stderr=subprocess.PIPE, env=environment, cwd=folder, text=True, check=False,
        )  # fmt: skip
    return done.returncode, done.stderr


@needs_full
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--version"], ["scan", "--help"], ["weights", "list"]])
def test_a_full_standard_output_is_one_line(words, unbuffered, environment, tmp_path):
    environment = environment | {"PYTHONUNBUFFERED": unbuffered}
    assert printing_to("/dev/full", words, environment, tmp_path) == (1, FULL)


@needs_full
def test_a_scan_that_cannot_print_says_what_fails(words, without_torch, tmp_path):
    code, err = printing_to("/dev/full", words, without_torch, tmp_path)
    fault, full = err.splitlines(keepends=True)
    assert (code, full) == (1, FULL)
    assert FAULT in fault
    assert printing_to(os.devnull, words, without_torch, tmp_path) == (0, "")


def test_nothing_is_said_to_a_pipe_that_nobody_reads(environment, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert printing_to(f"/dev/fd/{writing}", ["--help"], environment, tmp_path) == (1, "")
    finally:
        os.close(writing)
