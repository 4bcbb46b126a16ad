"""No command opens a socket but `weights pull`, `fetch`, `send` and a scan on a cluster.

Every library is there, as a user has it.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from tests.cli import no_sockets


@pytest.fixture
def denied(environment, tmp_path):
    """Runs commands in an empty folder without sockets; nobody tells them to stay offline."""
    environment = {k: v for k, v in environment.items() if k != "HF_HUB_OFFLINE"}

    def run(*commands):
        told = json.dumps([[str(word) for word in words] for words in commands])
        return subprocess.run(
            [sys.executable, no_sockets.__file__, told],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=550,
            check=False,
        )

    return run


def test_a_socket_is_the_end(denied):
    done = denied()
    if done.returncode == no_sockets.UNAVAILABLE:
        pytest.skip("this kernel denies no sockets")
    assert done.stdout == "a pair is let through\n"
    assert done.returncode == -31  # SIGSYS


@pytest.mark.timeout(600)
def test_no_command_opens_one(denied, backbone_folder, tmp_path):
    data = tiny.write_pictures(tmp_path / "data", 4, tests=2)
    tiny.write_series(tmp_path / "archive", tiny.head_volume(1), study="1.2")
    tiny_clip = ("--backbone", f"local-dir:{backbone_folder}")
    shots = ("--shots", 2, "--method", "patchcore", "--folds", 2)
    detector = ("--detector", "d.safetensors")
    done = denied(
        ("fit", data, *tiny_clip, *shots, "--out", "d.safetensors"),
        ("evaluate", "d.safetensors", data, "--draws", 5, "--json", "figures.json"),
        ("plan", "archive", "--shards", 2, *detector),
        ("scan", "archive", *detector, "--out", "r.h5", "--json", "--log-file", "log.jsonl"),
        ("report", "r.h5", "--out", "again"),
        ("export", "r.h5", "--to", "nifti", "--out", "maps"),
        ("export", "r.h5", "--to", "dicom-seg", "--archive", "archive", "--out", "masks"),
        ("verify", "r.h5", "--archive", "archive", *detector),
        ("doctor", "--out", "r.h5"),
        ("weights", "list"),
        # A hub name and an open_clip tag are looked for in the cache, and no further.
        ("fit", data, "--backbone", "hf-hub:nobody/nothing", *shots),
        ("fit", data, "--backbone", "ViT-B-32/laion2b_s34b_b79k", *shots),
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    ended = [line for line in done.stdout.splitlines() if " and ended with " in line]
    assert ended == [
        *(
            f"{name} opened 0 and ended with 0"
            for name in "fit evaluate plan scan report export export verify doctor weights".split()  # noqa: SIM905
        ),
        "fit opened 0 and ended with 2",
        "fit opened 0 and ended with 2",
    ], done.stderr
    assert done.stderr.count("is not on this machine") == 2
    assert '"files": {"scanned": 6, "skipped": 0, "failed": 0}' in done.stdout
    assert Path(tmp_path / "maps").is_dir()
