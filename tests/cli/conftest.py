from __future__ import annotations

import subprocess
import sys

import pytest

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
