from __future__ import annotations

import subprocess
import sys

import pytest

from medscan.cli import main

MEDSCAN = [sys.executable, "-m", "medscan"]


@pytest.fixture
def medscan(environment, tmp_path):
    """Runs medscan as a process in an empty folder."""

    def run(*words, env=(), **options):
        return subprocess.run(
            [*MEDSCAN, *map(str, words)],
            env=environment | dict(env),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **options,
        )

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
