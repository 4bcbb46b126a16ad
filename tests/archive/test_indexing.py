"""Indexing: worker processes, and what they must not change."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medscan.archive import Reason, index, read_header, readers
from medscan.archive.header import to_json
from medscan.archive.readers import Readers, read_texts

from .conftest import Cache, as_file, write

KILLER = "kills.dcm"


def abort():
    """What a worker begins with, where none can."""
    os._exit(1)


def read_or_die(rows, *rest):
    """What a worker does, where one file kills it."""
    if any(row[0].endswith(KILLER) for row in rows):
        os.kill(os.getpid(), signal.SIGKILL)
    return read_texts(rows, *rest)


def read_or_hang(rows, *rest):
    """What a worker does, where one file hangs."""
    readers._EXTRA_FILE_S = 0.0
    readers.read_header = hang_or_read
    return read_texts(rows, *rest)


def hang_or_read(file):
    if file.path.endswith(KILLER):
        threading.Event().wait(600)
    return read_header(file)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A little of everything, in 12 folders."""
    root = tmp_path_factory.mktemp("tree")
    for n in range(60):
        place = root / f"d{n % 12}"
        write(place / f"I{n}", SOPInstanceUID=f"1.2.{n}", ImagePositionPatient=[0, 0, n])
    volume = nib.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.eye(4))
    nib.save(volume, root / "d3" / "v.nii.gz")
    Image.new("L", (5, 3)).save(root / "d4" / "p.png")
    (root / "d5" / "t").write_text("text")
    (root / "d6" / os.fsdecode(b"caf\xe9\n.dcm")).write_bytes(b"no image")
    (root / "d7" / "cut").write_bytes((root / "d0" / "I0").read_bytes()[:-20])
    (root / "d8" / "packed").write_bytes(gzip.compress((root / "d0" / "I0").read_bytes()))
    (root / "d9" / "link").symlink_to(root / "d0")
    return root


@pytest.fixture
def eager(monkeypatch):
    """Workers from the first file on, and read by nobody else."""
    monkeypatch.setattr(readers, "SMALL", -1)
    monkeypatch.setattr("medscan.archive.indexing.CHUNK", 7)
    pool = readers._new_pool

    def up(workers):
        made = pool(workers)
        made.submit(os.getpid).result()
        return made

    monkeypatch.setattr(readers, "_new_pool", up)
    monkeypatch.setattr(readers.Future, "done", lambda self: True)


def test_the_catalogue_does_not_depend_on_the_workers(tree, eager):
    caches = [Cache() for _ in range(3)]
    found = [index([tree], cache=c, workers=n) for n, c in enumerate(caches, 1)]
    assert found[0] == found[1] == found[2]
    assert repr(found[0]) == repr(found[1]) == repr(found[2])
    assert caches[0] == caches[1] == caches[2]
    assert len(caches[0]) == 66
    assert index([tree], cache=caches[1], workers=2) == found[0]


def test_a_worker_that_dies_costs_its_file(tree, eager, monkeypatch, tmp_path):
    write(tmp_path / KILLER, SOPInstanceUID="1.9")
    expected = index([tree])
    monkeypatch.setattr(readers, "read_texts", read_or_die)
    cache = Cache()
    found = index([tree, tmp_path], cache=cache, workers=2)
    died = {o.file.path: o.reason for o in found.set_aside if o.file.path.endswith(KILLER)}
    assert died == {KILLER: Reason.DECODER_DIED}
    rest = [o for o in found.set_aside if not o.file.path.endswith(KILLER)]
    assert (found.studies, rest) == (expected.studies, list(expected.set_aside))
    assert not any(file.path.endswith(KILLER) for file in cache)  # tried again the next time


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_hangs_costs_its_time(tmp_path, monkeypatch, workers, request):
    if workers > 1:
        request.getfixturevalue("eager")
    for n, name in enumerate(("a", KILLER, "z")):
        write(tmp_path / name, SOPInstanceUID=f"1.{n}")
    monkeypatch.setattr(readers, "read_header", hang_or_read)
    monkeypatch.setattr(readers, "read_texts", read_or_hang)
    cache = Cache(whole=True)
    found = index([tmp_path], cache=cache, workers=workers, file_timeout_s=2.0)
    assert [f.path for study in found.studies for f in study.files()] == ["a", "z"]
    assert [(o.file.path, o.reason) for o in found.set_aside] == [(KILLER, Reason.DECODER_DIED)]
    assert cache.last == ("", None)  # tried again the next time
    assert sorted(file.path for file in cache) == ["a", "z"]


def test_an_error_of_our_own_is_not_hidden_by_the_thread(tree, monkeypatch):
    def wrong(file):
        raise KeyError(file.path)

    monkeypatch.setattr(readers, "read_header", wrong)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with pytest.raises(KeyError):
        index([tree])


def test_where_no_worker_starts_this_process_reads(tree, monkeypatch):
    expected = index([tree])
    monkeypatch.setattr(readers, "SMALL", -1)
    monkeypatch.setattr(readers, "_prepare_worker", abort)
    monkeypatch.setattr(readers.Future, "done", lambda self: True)
    assert index([tree], workers=2) == expected


def test_few_files_start_no_workers(tree, monkeypatch):
    monkeypatch.setattr(readers, "_new_pool", None)
    assert index([tree], workers=4) == index([tree])


def test_files_are_read_here_until_the_workers_are_up(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "SMALL", 0)
    file = as_file(write(tmp_path / "x"))
    with Readers(2) as both:
        job = both.submit([file])
        assert job is None
        ((here, _),) = both.result([file], job)
        while job is None:
            job = both.submit([file])
            time.sleep(0.01)
        ((there, text),) = both.result([file], job)
    assert here == there == read_header(file)
    assert json.loads(text) == json.loads(json.dumps(to_json(here)))


SCRIPT = """
import sys
from pathlib import Path
from medscan.archive import index, readers
readers.SMALL = -1

def main():
    def tell(n):
        print(n, flush=True)
        if n > 1500:
            input()
    index([Path(sys.argv[1])], progress=tell, workers=2)

if __name__ == "__main__":
    main()
"""


def children_of(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(tmp_path, environment, number):
    (tmp_path / "run.py").write_text(SCRIPT)
    folder = tmp_path / "files"
    folder.mkdir()
    for n in range(4000):
        (folder / f"{n}").touch()
    command = [sys.executable, str(tmp_path / "run.py"), str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        assert any(line == b"1500\n" for line in process.stdout), process.stderr.read()
        workers = children_of(process.pid)
        assert workers
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode != 0
    ended = time.monotonic() + 20
    while any(alive(pid) for pid in workers) and time.monotonic() < ended:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in workers)
