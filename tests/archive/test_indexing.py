"""Indexing: worker processes, and what they must not change."""

from __future__ import annotations

import ctypes
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medscan import worker
from medscan.archive import ArchiveFile, Reason, index, read_header, readers, walk
from medscan.archive.header import to_json
from medscan.archive.readers import Readers
from medscan.errors import MedscanError
from medscan.worker import hire, serve

from .conftest import Cache, write

KILLER = "kills.dcm"


def serve_without_start(*_):
    """What a worker does, where none can start."""
    os._exit(1)


def serve_dying(*args):
    _serve_with(lambda: os.kill(os.getpid(), signal.SIGKILL), *args)


def serve_hanging(*args):
    """Hang as a regular expression does: in C, holding the interpreter."""
    _serve_with(lambda: ctypes.PyDLL(None).sleep(600), *args)


def serve_mistaken(*args):
    _serve_with(lambda: {}[KILLER], *args)


def _serve_with(act, *args):
    """Read headers, but act when the one that kills is read."""
    real = readers.read_header

    def read(file, **more):
        if file.path.endswith(KILLER):
            act()
        return real(file, **more)

    readers.read_header = read
    worker.serve(*args)


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
    """As many workers as there may be, from the first file on."""
    monkeypatch.setattr(readers, "MANY", -1)
    monkeypatch.setattr("medscan.archive.indexing.CHUNK", 7)


def test_the_catalogue_does_not_depend_on_the_workers(tree, eager):
    caches = [Cache() for _ in range(3)]
    found = [index([tree], cache=c, workers=n) for n, c in enumerate(caches)]
    assert found[0] == found[1] == found[2]
    assert repr(found[0]) == repr(found[1]) == repr(found[2])
    assert caches[0] == caches[1] == caches[2]
    assert len(caches[0]) == 66
    assert index([tree], cache=caches[1], workers=2) == found[0]


def test_a_worker_reads_what_this_process_would_read(tree):
    files = [file for file in walk(tree) if isinstance(file, ArchiveFile)]
    with Readers(1) as one:
        read = one.result(one.submit(files))
    assert [record for record, _ in read] == [read_header(file) for file in files]
    assert [json.loads(text) for _, text in read] == [
        json.loads(json.dumps(to_json(record))) for record, _ in read
    ]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize(
    ("serve", "reason", "why"),
    [
        (serve_dying, Reason.DECODER_DIED, "header: its decoder died of SIGKILL"),
        (serve_hanging, Reason.TIMED_OUT, "header: reading it took longer than 2 s"),
    ],
)
def test_a_file_that_kills_or_hangs_costs_itself(
    tree, tmp_path, eager, serve_with, workers, serve, reason, why
):
    write(tmp_path / KILLER, SOPInstanceUID="1.9")
    expected = index([tree])
    serve_with(serve)
    cache = Cache(whole=True)
    found = index([tree, tmp_path], cache=cache, workers=workers, file_timeout_s=2.0)
    given_up = [o for o in found.set_aside if o.file.path == KILLER]
    assert [(o.reason, o.detail) for o in given_up] == [(reason, why)]
    rest = [o for o in found.set_aside if o.file.path != KILLER]
    assert (found.studies, rest) == (expected.studies, list(expected.set_aside))
    assert not any(file.path == KILLER for file in cache)
    assert cache.last == ("", None)  # tried again the next time


def test_a_mistake_of_our_own_is_not_hidden(tmp_path, serve_with):
    write(tmp_path / KILLER)
    serve_with(serve_mistaken)
    with pytest.raises(KeyError):
        index([tmp_path])


def test_a_worker_of_another_version_ends_the_reading(tmp_path, monkeypatch):
    """One that begins while medscan is replaced writes headers that this process cannot read."""
    write(tmp_path / "a.dcm")
    monkeypatch.setattr(readers, "from_json", lambda *_: None)
    with pytest.raises(MedscanError, match="medscan was replaced while it ran; run it again"):
        index([tmp_path])


def test_workers_that_cannot_start_end_the_index(tree, serve_with):
    serve_with(serve_without_start)
    with pytest.raises(
        MedscanError, match="no process can be started to read headers: its decoder ended"
    ):
        index([tree])


def test_while_a_file_is_read_progress_goes_on_and_may_end_it(tmp_path, serve_with):
    write(tmp_path / KILLER)
    serve_with(serve_hanging)
    seen = []

    def progress(count):
        seen.append(count)
        if len(seen) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        index([tmp_path], progress=progress)
    assert seen == [0, 0, 0]


def test_few_files_start_one_worker(tree, monkeypatch, serve_with):
    serve_with(serve)
    started = []
    monkeypatch.setattr(readers, "hire", lambda function: started.append(1) or hire(function))
    index([tree], workers=4)
    assert started == [1]


SCRIPT = """
import sys
from pathlib import Path
from medscan.archive import index, readers
readers.MANY = -1

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
