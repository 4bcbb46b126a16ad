"""Hostile detectors and bundles are refused with one line, and nothing is left behind."""

import shutil
import socket
from pathlib import Path

import pytest

from tests import hostile, tiny


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """The backbones of this machine are elsewhere; sockets are errors, as in all tests."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


def test_a_socket_or_a_look_up_would_be_an_error():
    for use in (socket.socket, lambda: socket.getaddrinfo("example.org", 80)):
        with pytest.raises(UserWarning, match="tried to use socket"):
            use()


def check(code, err, done, left):
    """A refusal is status 2, a line, and nothing else; whether it was one."""
    assert code in (0, 2), (done, err)
    assert "Traceback" not in err, done
    if code == 2:
        assert len(err.splitlines()) == 1, (done, err)
        assert len(err) < 1000, done
        assert left == [], done
    return code == 2


def test_hostile_detectors_are_refused_before_anything_is_written(
    inside, detector_file, tmp_path, offline
):
    tiny.write_series(tmp_path / "archive", tiny.head_volume(1, slices=2), study="1.2")
    refused = 0
    for done, path in hostile.detectors(detector_file, tmp_path, 12):
        code, _, err = inside("scan", tmp_path / "archive", "--detector", path, "--workers", 0)
        refused += check(code, err, done, list(Path.cwd().iterdir()))
        for file in Path.cwd().iterdir():
            file.unlink()
    assert refused >= 8


def test_hostile_bundles_are_refused_before_anything_is_kept(
    inside, backbone_folder, tmp_path, offline
):
    refused = 0
    for done, folder in hostile.bundles(backbone_folder, tmp_path, 12):
        code, _, err = inside("weights", "import", folder)
        kept = [p for p in (tmp_path / "home").rglob("*") if p.is_file()]
        refused += check(code, err, done, kept)
        shutil.rmtree(tmp_path / "home", ignore_errors=True)
    assert refused >= 8
