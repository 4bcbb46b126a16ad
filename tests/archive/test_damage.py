"""Files that are cut, copied in part, or litter beside images."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from medscan.archive import Outcome, Reason, index, is_litter, walk

from .conftest import dataset, outcome, write

APPLE_DOUBLE = b"\0\5\26\7\0\2\0\0Mac OS X        " + bytes(4000)


def cuts(path, first=132):
    """The outcome of each start of a file, by its length."""
    content = path.read_bytes()
    for length in range(first, len(content)):
        path.write_bytes(content[:length])
        yield length, outcome(path)
    path.write_bytes(content)


def ends_of_elements(path):
    """Lengths at which a file ends behind an element: nothing says that others are missing."""
    content = path.read_bytes()
    position, ends = 144 + int.from_bytes(content[140:144], "little"), []
    implicit = content[position + 4 : position + 6] != b"UI"
    while position < len(content):
        long = not implicit and content[position + 4 : position + 6] in (b"OW", b"OB", b"UN")
        at, size = (
            (position + 8, 4) if long else (position + (4 if implicit else 6), 4 if implicit else 2)
        )
        position = at + size + int.from_bytes(content[at : at + size], "little")
        ends.append(position)
    return ends


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_an_image_that_is_cut_anywhere_fails_as_truncated(tmp_path, syntax):
    ds = dataset(StudyDescription="CT of the chest")
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(tmp_path / "x", enforce_file_format=True)
    whole = ends_of_elements(tmp_path / "x")
    for length, found in cuts(tmp_path / "x"):
        if isinstance(found, Outcome) and length not in whole:
            assert found.reason is Reason.TRUNCATED, (length, found)
        else:  # a header alone, or all but 4 bytes, which decoders will miss
            assert length in whole or length >= whole[-1] - 4


def test_a_cut_in_the_header_of_a_report_is_no_lost_image(tmp_path):
    write(tmp_path / "x", SOPClassUID=EnhancedSRStorage, PixelData=None, Rows=None)
    content = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(content[:-5])
    assert outcome(tmp_path / "x").reason is Reason.NOT_AN_IMAGE


def test_a_header_of_an_image_alone_is_no_image(tmp_path):
    write(tmp_path / "x", PixelData=None, Rows=None)
    found = outcome(tmp_path / "x")
    assert (found.reason, found.detail) == (Reason.NOT_AN_IMAGE, "no pixel data: CT Image Storage")


def compressed(frames, has_bot=True, syntax=JPEG2000Lossless, **tags):
    """An object whose compressed frames are noise: only their items are looked at."""
    rng = np.random.default_rng(0)
    ds = dataset(NumberOfFrames=frames, PixelData=None, **tags)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate([rng.bytes(40) for _ in range(frames)], has_bot=has_bot)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
@pytest.mark.parametrize("has_bot", [True, False])
@pytest.mark.parametrize("frames", [1, 3])
def test_compressed_pixels_that_are_cut_fail_as_truncated(tmp_path, frames, has_bot, syntax):
    compressed(frames, has_bot, syntax).save_as(tmp_path / "x", enforce_file_format=True)
    content = (tmp_path / "x").read_bytes()
    assert not isinstance(outcome(tmp_path / "x"), Outcome)
    start = content.index(b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff") + 12
    for length, found in cuts(tmp_path / "x", start):
        lacks_only_the_end = length >= len(content) - 8
        assert isinstance(found, Outcome) is not lacks_only_the_end, length
        if not lacks_only_the_end:
            assert found.reason is Reason.TRUNCATED


def test_elements_behind_compressed_pixels_are_no_damage(tmp_path):
    ds = compressed(2)
    ds.add_new(0xFFFCFFFC, "OB", bytes(20))
    ds.save_as(tmp_path / "x", enforce_file_format=True)
    assert not isinstance(outcome(tmp_path / "x"), Outcome)


@pytest.mark.parametrize("start", [0.9, 0.5])
@pytest.mark.parametrize("zeros", [False, True])
def test_a_partial_copy_does_not_hide_the_whole_one(tmp_path, zeros, start):
    """Neither one that was cut, nor one whose rest has been set aside on disk, but not written."""
    compressed(40).save_as(tmp_path / "b", enforce_file_format=True)
    content = (tmp_path / "b").read_bytes()
    copied = content[: int(start * len(content))]
    (tmp_path / "a").write_bytes(copied.ljust(len(content), b"\0") if zeros else copied)
    catalogue = index([tmp_path])
    assert [f.path for s in catalogue.studies for f in s.files()] == ["b"]
    (failed,) = catalogue.set_aside
    assert (failed.file.path, failed.reason) == ("a", Reason.TRUNCATED)


@pytest.mark.parametrize("name", ["._a.dcm", "._DICOMDIR", "._x.nii.gz", "._x.nrrd", "._x.png"])
def test_what_macos_keeps_beside_a_file_is_no_image(tmp_path, name):
    (tmp_path / name).write_bytes(APPLE_DOUBLE)
    found = outcome(tmp_path / name)
    assert (found.reason, found.detail[:11]) == (Reason.NOT_AN_IMAGE, "AppleDouble")


def test_a_deleted_file_that_nfs_keeps_is_no_copy(tmp_path):
    write(tmp_path / "a.dcm")
    shutil.copy(tmp_path / "a.dcm", tmp_path / ".nfs000000000234a1b200000017")
    shutil.copy(tmp_path / "a.dcm", tmp_path / ".nfsnotes")
    catalogue = index([tmp_path])
    assert {o.file.path: o.reason for o in catalogue.set_aside} == {
        ".nfs000000000234a1b200000017": Reason.NOT_AN_IMAGE,
        "a.dcm": Reason.DUPLICATE,
    }
    assert len(list(walk(tmp_path))) == 3


def test_litter_is_what_neither_is_nor_claims_to_be_an_image(tmp_path):
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    (tmp_path / "desktop.ini").write_text("[.ShellClassInfo]\n")
    (tmp_path / "broken.png").write_text("not a picture")
    write(tmp_path / "image")
    found = {path.name: is_litter(path) for path in tmp_path.iterdir()}
    assert found == {"Thumbs.db": True, "desktop.ini": True, "broken.png": False, "image": False}
    assert not is_litter(tmp_path / "missing")
    assert outcome(tmp_path / "Thumbs.db").detail == "an OLE document, such as Thumbs.db"
