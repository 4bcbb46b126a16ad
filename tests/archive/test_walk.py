from __future__ import annotations

import errno
import inspect
import os
import socket
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from medscan.archive import ArchiveFile, Outcome, Reason, index, read_header, walk

from .conftest import is_root, write


def reasons(root):
    return {o.file.path: o.reason for o in walk(root) if isinstance(o, Outcome)}


def test_files_come_sorted_and_each_once(tmp_path):
    for name in ("b/2", "a/x", "b/10", "c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = list(walk(tmp_path))
    assert [f.path for f in found] == ["c", "a/x", "b/10", "b/2"]
    assert all(f.full.read_bytes() == b"x" and f.size == 1 for f in found)


def test_a_single_file_is_a_root(tmp_path):
    (tmp_path / "one").write_bytes(b"abc")
    (found,) = walk(tmp_path / "one")
    assert (found.path, found.root, found.size) == ("one", tmp_path, 3)


def test_special_files_are_named_and_never_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "sock"))
        catalogue = index([tmp_path])
    assert {o.file.path: (o.reason, o.detail) for o in catalogue.set_aside} == {
        "fifo": (Reason.NOT_AN_IMAGE, "a FIFO"),
        "sock": (Reason.NOT_AN_IMAGE, "a socket"),
    }


def test_links_are_accounted_for_and_not_followed(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").mkdir()
    (root / "file").write_bytes(b"x")
    (root / "loop").symlink_to(root)
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "copy").symlink_to("file")
    (root / "nowhere").symlink_to("missing")
    (root / "self").symlink_to("self")
    assert reasons(root) == {
        "loop": Reason.DUPLICATE,
        "copy": Reason.DUPLICATE,
        "out": Reason.LINKED,
        "nowhere": Reason.UNREADABLE,
        "self": Reason.UNREADABLE,
    }
    assert [f.path for f in walk(root) if isinstance(f, ArchiveFile)] == ["file"]


def test_a_missing_root_is_unreadable(tmp_path):
    (found,) = walk(tmp_path / "missing")
    assert found.reason is Reason.UNREADABLE


@pytest.mark.skipif(is_root, reason="root may read everything")
def test_what_may_not_be_read_is_unreadable(tmp_path):
    (tmp_path / "dir").mkdir(mode=0)
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "file").chmod(0)
    found = {o.file.path: o.reason for o in index([tmp_path]).set_aside}
    (tmp_path / "dir").chmod(0o700)
    assert found == {"dir": Reason.UNREADABLE, "file": Reason.UNREADABLE}


def test_a_file_that_vanished_is_unreadable(tmp_path):
    path = write(tmp_path / "a")
    (gone,) = walk(tmp_path)
    path.unlink()
    assert read_header(gone).reason is Reason.UNREADABLE


def test_a_file_that_became_a_fifo_is_not_waited_for(tmp_path):
    path = write(tmp_path / "a")
    (gone,) = walk(tmp_path)
    path.unlink()
    os.mkfifo(path)
    assert read_header(gone).reason is Reason.UNREADABLE


@pytest.mark.parametrize("size", [0, 100, 200, 500])
def test_a_file_that_shrank_is_an_outcome(tmp_path, size):
    path = write(tmp_path / "a")
    (known,) = walk(tmp_path)
    os.truncate(path, size)
    assert isinstance(read_header(known), Outcome)


def test_a_file_that_grew_is_read(tmp_path):
    path = write(tmp_path / "a")
    (known,) = walk(tmp_path)
    before = read_header(known)
    with path.open("ab") as stream:
        stream.write(bytes(9000))
    assert read_header(known) == before


def test_a_file_that_became_a_folder_is_unreadable(tmp_path):
    path = write(tmp_path / "a")
    (known,) = walk(tmp_path)
    path.unlink()
    path.mkdir()
    assert read_header(known).reason is Reason.UNREADABLE


def test_a_folder_that_vanished_meanwhile_is_unreadable(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").mkdir()
    found = walk(tmp_path)
    next(found)
    (tmp_path / "b").rmdir()
    assert [o.reason for o in found] == [Reason.UNREADABLE]


def test_an_entry_of_which_nothing_can_be_told_is_unreadable(tmp_path, monkeypatch):
    class Stale:
        name = "stale"

        def is_dir(self, *, follow_symlinks):
            raise OSError(errno.ESTALE, "Stale file handle")

        stat = is_dir

    real = os.scandir
    (tmp_path / "file").write_bytes(b"x")

    @contextmanager
    def scandir(path):
        with real(path) as found:
            yield [*found, Stale()]

    monkeypatch.setattr(os, "scandir", scandir)
    assert reasons(tmp_path) == {"stale": Reason.UNREADABLE}
    assert len(list(walk(tmp_path))) == 2


def test_a_device_is_named_and_not_opened():
    (found,) = walk(Path("/dev/zero"))
    assert (found.reason, found.detail) == (Reason.NOT_AN_IMAGE, "a character device")


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems want UTF-8")
def test_names_that_are_no_utf8_survive(tmp_path):
    name = os.fsdecode(b"caf\xe9\n.dcm")
    write(tmp_path / name)
    (study,) = index([tmp_path]).studies
    assert [f.path for f in study.files()] == [name]


def test_deep_trees_do_not_recurse(tmp_path):
    folder = tmp_path.joinpath(*["d"] * 200)
    folder.mkdir(parents=True)
    (folder / "f").write_bytes(b"")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 120)
    try:
        found = list(walk(tmp_path))
    finally:
        sys.setrecursionlimit(limit)
    assert len(found) == 1


def test_roots_within_roots_and_equal_paths_do_not_collide(tmp_path):
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        Image.new("L", (3, 2)).save(tmp_path / side / "x.png")
    left, right = tmp_path / "left", tmp_path / "right"
    apart = index([right, left])
    assert len({s.key for s in apart.studies}) == 2
    assert apart == index([left, right, left])
    assert len(index([tmp_path, left]).studies) == 2
