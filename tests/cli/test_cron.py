"""The examples of the manual page for cron and systemd, run as these run them."""

import configparser
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests import processes, tiny
from tests.cli.conftest import MEDSCAN

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "man/medscan.1").read_text()
INSTALLED = "/usr/local/bin/medscan"


def crontab_command():
    return re.search(r"^0 22 \* \* \*  (.*)$", PAGE, re.M)[1]


def service():
    unit = configparser.ConfigParser()
    text = re.search(r"^\[Unit\]\n(?:.*\n)*?TimeoutStopSec=.*$", PAGE, re.M)[0]
    unit.read_string(text)
    return unit["Service"]


@pytest.fixture
def archive(tmp_path):
    folder = tmp_path / "archive"
    for number in range(2):
        tiny.write_series(folder / str(number), tiny.head_volume(number, 2), study=f"1.{number}")
    return folder


def break_a_file(archive):
    file = min(filter(Path.is_file, archive.rglob("*")))
    file.write_bytes(file.read_bytes()[:-300])


@pytest.fixture(params=["cron", "systemd"])
def night(request, without_torch, tmp_path, archive, detector_file):
    """Runs a line of the page in the root folder, with as few variables as cron: by /bin/sh as
    cron does, or word for word as systemd does.
    """
    line = crontab_command() if request.param == "cron" else service()["ExecStart"]
    assert line.startswith(f"{INSTALLED} scan ")
    line = line.replace(" scan ", f" scan --detector {detector_file} ")
    line = line.replace("/archive", str(archive)).replace("/srv", str(tmp_path))
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SHELL": "/bin/sh"}
    variables |= {name: without_torch[name] for name in ("PYTHONPATH", "XDG_CACHE_HOME")}

    def run():
        for file in filter(Path.is_file, archive.rglob("*")):
            os.utime(file, (1, 1))  # older than --settle
        if request.param == "systemd":
            return processes.command(shlex.split(line)[1:], variables, Path("/"))
        return subprocess.run(
            ["/bin/sh", "-c", line.replace(INSTALLED, shlex.join(MEDSCAN))],
            env=variables,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run


def test_a_person_is_called_once_and_only_when_something_got_worse(night, archive):
    done = night()
    assert (done.returncode, done.stderr) == (0, "")
    break_a_file(archive)
    done = night()
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("medscan: files or folders that fail now: 1 truncated; ")
    done = night()
    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_lets_no_failure_pass_as_success():
    assert "SuccessExitStatus" not in service()


def test_strict_fails_for_as_long_as_a_file_fails(inside, archive, detector_file):
    break_a_file(archive)
    words = ("scan", archive, "--detector", detector_file)
    assert inside(*words)[0] == 3
    assert inside(*words)[0::2] == (0, "")
    code, _, err = inside(*words, "--strict")
    assert code == 3
    assert "files that fail, in all: 1; " in err
