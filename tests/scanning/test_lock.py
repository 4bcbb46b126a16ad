"""One scan a results file: who holds the lock, and when it is taken over."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
import time

import pytest

from medscan.errors import DiskError, LockedError
from medscan.scanning import lock as module
from medscan.scanning.lock import locked


@pytest.fixture
def out(tmp_path):
    return tmp_path / "results.h5"


@pytest.fixture
def no_locks(monkeypatch):
    """A network file system without locks."""

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(time, "sleep", lambda _: None)


def signed(out, process, host=None, since="2026-11-22T22:00:00+00:00", age=0):
    """A lock file that a scan left."""
    path = out.with_name("results.h5.lock")
    path.write_text(f"process {process} on {host or socket.gethostname()} since {since}\n")
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def dead():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_owner_is_named_and_the_lock_leaves_no_trace(out):
    with locked(out) as taken:
        assert taken == ""
        text = out.with_name("results.h5.lock").read_text()
        assert text.startswith(f"process {os.getpid()} on {socket.gethostname()} since 2")
        with pytest.raises(LockedError, match=f"process {os.getpid()} on"), locked(out):
            pass
    assert not out.with_name("results.h5.lock").exists()


def test_the_lock_of_a_dead_process_is_taken_over(out):
    process = dead()
    signed(out, process)
    with locked(out) as taken:
        assert taken.startswith(f"process {process} on ")


def test_garbage_is_no_owner(out):
    out.with_name("results.h5.lock").write_bytes(b"\xff\0 nobody")
    with locked(out):
        pass


def test_a_scan_on_another_host_counts_as_long_as_it_touches_its_lock(out):
    signed(out, os.getpid(), host="elsewhere", age=module.DEAD_S / 2)
    with pytest.raises(LockedError, match="on elsewhere since"), locked(out):
        pass
    signed(out, os.getpid(), host="elsewhere", age=module.DEAD_S * 2)
    with locked(out) as taken:
        assert "on elsewhere" in taken


def test_the_owner_touches_its_lock(out, monkeypatch):
    monkeypatch.setattr(module, "BEAT_S", 0.01)
    with locked(out):
        path = out.with_name("results.h5.lock")
        os.utime(path, (0, 0))
        for _ in range(500):
            if path.stat().st_mtime > 0:
                break
            time.sleep(0.01)
        assert path.stat().st_mtime > 0


def test_without_locks_the_name_alone_counts(out, no_locks):
    now = module.datetime.datetime.now(module.datetime.UTC).isoformat(timespec="seconds")
    signed(out, os.getppid(), since=now)
    with pytest.raises(LockedError, match="in use by process"), locked(out):
        pass
    signed(out, dead())
    with locked(out) as taken:
        assert taken


def test_without_locks_a_number_used_again_is_no_owner(out, no_locks):
    signed(out, os.getppid(), since="2001-01-01T00:00:00+00:00")  # before this machine was started
    with locked(out) as taken:
        assert taken


def test_without_locks_the_last_of_two_at_once_has_it(out, no_locks, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: signed(out, 1, host="faster"))
    with pytest.raises(LockedError, match="on faster"), locked(out):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_one_line(out):
    out.parent.chmod(0o500)
    with pytest.raises(DiskError, match="cannot be written"), locked(out):
        pass


def test_a_folder_that_is_gone_is_one_line(tmp_path):
    with pytest.raises(DiskError, match="cannot be written"), locked(tmp_path / "none" / "r.h5"):
        pass
