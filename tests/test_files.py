"""Files that are whole or not there at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from medscan.errors import DiskError
from medscan.files import replacing


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
