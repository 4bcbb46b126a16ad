from __future__ import annotations

import sys

import pytest

from medscan.cli import main
from tests import processes

MEDSCAN = [sys.executable, "-m", "medscan"]


@pytest.fixture
def medscan(environment, tmp_path):
    """Runs medscan as a process in an empty folder."""

    def run(*words, env=()):
        return processes.command(words, environment | dict(env), tmp_path)

    return run


@pytest.fixture
def inside(tmp_path, monkeypatch, capfd):
    """Runs medscan in this process, in the empty folder `work`: code, standard output and error."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*words):
        monkeypatch.setattr("sys.argv", ["medscan", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        said = capfd.readouterr()
        return code, said.out, said.err

    return run
