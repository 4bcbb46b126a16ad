"""The catalogue of an unchanged archive: the same without reading, and never one of another."""

from __future__ import annotations

import gzip
import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medscan.archive import Pseudonyms, Reason, header, index, readers, snapshot, walk, walk_all
from medscan.archive.snapshot import digest_of, from_bytes
from medscan.choices import Plane
from medscan.planning.ledger import Ledger

from .conftest import Cache, write


class Memory:
    """A cache of catalogues, and of no headers."""

    def __init__(self):
        self.name, self.catalogue = "", None

    def get(self, files):
        return [None] * len(files)

    def put(self, headers):
        list(headers)

    def recall(self, name):
        return self.catalogue if name == self.name else None

    def remember(self, name, catalogue):
        self.name, self.catalogue = name, catalogue


@pytest.fixture
def tree(tmp_path):
    """Every kind of thing that a catalogue holds."""
    root = tmp_path / "tree"
    for n in range(4):
        place = dict(ImagePositionPatient=[0.1, 0, 2.3 * n], InstanceNumber=n)
        write(root / "ct" / f"I{n}", SOPInstanceUID=f"1.2.{n}", **place)
    shutil.copy(root / "ct" / "I0", root / "copy")
    write(root / "film", SOPInstanceUID="1.9", NumberOfFrames=2, PixelData=bytes(96))
    write(root / "unplaced", SOPInstanceUID="1.8", ImagePositionPatient=None, Modality="SC")
    write(root / "lost", SOPInstanceUID="1.7", PixelData=None)
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4, 2), np.int16), np.eye(4)), root / "v.nii.gz")
    nib.save(nib.Nifti1Pair(np.zeros((2, 3, 4), np.int16), np.eye(4)), root / "pair.img")
    Image.new("L", (5, 3)).save(root / "p.png")
    (root / os.fsdecode(b"caf\xe9\n.txt")).write_text("text")
    (root / "link").symlink_to("ct")
    return root


def unread(*_):
    raise AssertionError("a file was opened")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unchanged_archive_is_not_read(tree, monkeypatch, workers):
    memory, secret = Memory(), Pseudonyms(b"key", identify=True)
    first = index([tree], cache=memory, pseudonyms=secret)
    assert {o.reason for o in first.set_aside} >= {Reason.DUPLICATE, Reason.CORRUPT}
    assert first.companions
    assert any(o.other for o in first.set_aside)
    monkeypatch.setattr(readers.Readers, "submit", unread)
    again = index([tree], cache=memory, workers=workers, pseudonyms=secret)
    assert again == first
    assert repr(again) == repr(first)


def renamed(tree):
    (tree / "film").rename(tree / "films")


def touched(tree):
    os.utime(tree / "film", ns=(1, 1))


def grown(tree):
    status = (tree / "film").stat()
    with (tree / "film").open("ab") as stream:
        stream.write(b"\0\0")
    os.utime(tree / "film", ns=(status.st_atime_ns, status.st_mtime_ns))


def added(tree):
    write(tree / "z", SOPInstanceUID="1.77")


def removed(tree):
    (tree / "ct" / "I1").unlink()


def linked(tree):
    (tree / "link").unlink()
    (tree / "link").symlink_to("..")


@pytest.mark.parametrize("change", [renamed, touched, grown, added, removed, linked])
def test_a_changed_archive_is_read(tree, change):
    memory = Memory()
    index([tree], cache=memory)
    change(tree)
    assert index([tree], cache=memory) == index([tree])


def test_what_else_a_catalogue_depends_on(tree):
    memory = Memory()
    index([tree], cache=memory)
    coronal = index([tree], Plane.CORONAL, cache=memory)
    assert coronal == index([tree], Plane.CORONAL)
    for hidden in (Pseudonyms(b"key"), Pseudonyms(b"key", hash_paths=False), Pseudonyms(b"yek")):
        assert index([tree], cache=memory, pseudonyms=hidden) == index([tree], pseudonyms=hidden)
    assert index([tree / "ct"], cache=memory) == index([tree / "ct"])


def shortened(data):
    """Whole as far as its checksum tells, but for its last line."""
    return gzip.compress(b"".join(gzip.decompress(data).splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-9], lambda b: b"", lambda b: b[::-1], shortened, lambda b: b + b]
)
def test_a_damaged_catalogue_is_made_anew(tree, damage):
    memory = Memory()
    first = index([tree], cache=memory)
    whole, memory.catalogue = memory.catalogue, damage(memory.catalogue)
    assert index([tree], cache=memory) == first
    assert memory.catalogue == whole


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=3),
)


def lines(values):
    return gzip.compress("\n".join(map(json.dumps, values)).encode())


@settings(max_examples=60)
@given(st.binary() | st.lists(JSON).map(lines))
def test_no_bytes_break_it(data):
    found = from_bytes(data, [])
    assert found is None or not (found.studies or found.set_aside or found.companions)


def test_what_may_end_otherwise_is_tried_again(tree):
    memory, walked = Memory(), list(walk_all([tree]))
    expected = index([tree])
    (tree / "film").rename(tree.parent / "film")
    found = index([tree], cache=memory, walked=walked)
    assert Reason.UNREADABLE in {o.reason for o in found.set_aside}
    assert memory.catalogue is None
    (tree.parent / "film").rename(tree / "film")
    assert index([tree], cache=memory) == expected


def test_what_a_row_of_the_ledger_cannot_hold_is_not_remembered(tree, monkeypatch):
    memory = Memory()
    monkeypatch.setattr(snapshot, "LARGEST", 100)
    assert index([tree], cache=memory).studies
    assert memory.catalogue is None


def test_a_lone_file_is_not_remembered(tree):
    memory = Memory()
    assert index([tree / "pair.hdr"], cache=memory).studies
    (tree / "pair.img").unlink()  # which no walk of the other finds
    assert not index([tree / "pair.hdr"], cache=memory).studies


def test_no_path_and_no_name_is_kept(tree):
    memory = Memory()
    index([tree], cache=memory, pseudonyms=Pseudonyms(b"key"))
    kept = gzip.decompress(memory.catalogue)
    assert b"P1" not in kept
    assert not any(name in kept for name in (b"I0", b"copy", b"film", b"pair", b"caf"))


def test_names_differ_where_walks_differ(tree):
    walked = list(walk(tree))
    names = {digest_of(walked[:n], None) for n in range(len(walked))}
    names |= {digest_of(walked, None, "rule"), digest_of(walked, Plane.AXIAL)}
    assert len(names) == len(walked) + 2


def test_what_was_no_image_to_another_library_is_read_again(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    Image.new("L", (5, 3)).save(tmp_path / "y.png")
    submit, seen, memory = readers.Readers.submit, [], Cache(whole=True)

    def noted(self, files):
        seen.extend(file.path for file in files)
        return submit(self, files)

    monkeypatch.setattr(readers.Readers, "submit", noted)
    for expected in (["x", "y.png"], []):
        seen.clear()
        index([tmp_path], cache=memory)
        assert seen == expected
    older = {file: text.replace(header.tools(), "older") for file, text in memory.items()}
    seen.clear()
    memory.update(older)
    memory.last = ("", None)
    index([tmp_path], cache=memory)
    assert seen == ["x"]


def test_the_ledger_keeps_one_catalogue(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    ledger.remember("one", b"1")
    ledger.remember("two", b"\0two")
    ledger.commit()
    ledger.close()
    ledger = Ledger(tmp_path / "ledger")
    assert (ledger.recall("one"), ledger.recall("two")) == (None, b"\0two")
    ledger.close()
