"""Files that are whole or not there at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from medscan.errors import DiskError
from medscan.files import private_files, replacing


def test_a_file_that_cannot_be_removed_does_not_hide_why(tmp_path, monkeypatch):
    def fails(self, missing_ok=False):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def full():
        with replacing(tmp_path / "x"):
            monkeypatch.setattr(Path, "unlink", fails)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DiskError, match="No space left"):
        full()


def test_an_error_that_says_nothing_is_named(tmp_path):
    with (
        pytest.raises(DiskError, match="x could not be written: OSError"),
        replacing(tmp_path / "x"),
    ):
        raise OSError


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o664, 0o444])
def test_a_file_that_replaces_another_keeps_its_permissions(tmp_path, permissions):
    path = tmp_path / "x"
    path.write_text("old")
    path.chmod(permissions)
    with replacing(path) as aside:
        assert mode(aside) == permissions | 0o600, "also while it is written"
        aside.write_text("new")
    assert (mode(path), path.read_text()) == (permissions, "new")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to any group")
def test_a_file_that_replaces_another_keeps_its_group(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    os.chown(path, -1, 4242)
    with replacing(path) as aside:
        aside.write_text("new")
    assert path.stat().st_gid == 4242


def test_new_private_files_are_for_their_owner_only(tmp_path):
    before = os.umask(0o022)
    try:
        for private, expected in ((True, 0o600), (False, 0o644)):
            with private_files(private), replacing(tmp_path / str(private)) as aside:
                aside.write_text("x")
            assert mode(tmp_path / str(private)) == expected
    finally:
        assert os.umask(before) == 0o022
