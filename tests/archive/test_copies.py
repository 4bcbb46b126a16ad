"""Files of one SOP instance: which is scored, and what becomes of the others."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from pydicom.pixels import convert_color_space
from pydicom.uid import JPEGLSNearLossless, RLELossless

from medscan.archive import Reason, index
from medscan.archive.readers import Readers
from medscan.decoding import judge

from .conftest import Cache, dataset

JUDGE = partial(judge, max_file_bytes=2**26, file_timeout_s=60)


def content_of(compressed=False, value=1, **tags):
    """Bytes of a slice of 64 x 64 pixels."""
    pixels = np.arange(4096, dtype=np.uint16).reshape(64, 64) * value
    ds = dataset(Rows=64, Columns=64, PixelData=pixels.tobytes(), **tags)
    if compressed:
        ds.compress(RLELossless, generate_instance_uid=False)
    return ds


@pytest.fixture
def save(tmp_path):
    def save(name, ds, damage=None):
        path = tmp_path / name
        ds.save_as(path, enforce_file_format=True)
        if damage is not None:
            path.write_bytes(damage(path.read_bytes()))

    return save


def indexed(folder, **options):
    catalogue = index([folder], judge=JUDGE, **options)
    scored = [f.path for study in catalogue.studies for f in study.files()]
    return scored, {o.file.path: (o.reason, o.detail, o.other) for o in catalogue.set_aside}


def spoiled(content):
    """A file of the same length whose RLE header is lost: where its segments start is unknown."""
    at = content.rindex(b"\2\0\0\0\x40\0\0\0")
    return content[:at] + b"\xff" * 64 + content[at + 64 :]


@pytest.mark.parametrize(("damaged", "whole"), [("a", "b"), ("b", "a")])
def test_the_copy_that_decodes_is_scored(tmp_path, save, damaged, whole):
    save(damaged, content_of(compressed=True), spoiled)
    save(whole, content_of(compressed=True))
    scored, aside = indexed(tmp_path)
    assert scored == [whole]
    reason, detail, other = aside[damaged]
    assert (reason, other) == (Reason.CORRUPT, whole)
    assert detail.endswith(": a damaged copy of")


def test_copies_of_the_whole_one_are_copies_still(tmp_path, save):
    save("a", content_of(compressed=True), spoiled)
    save("b", content_of(compressed=True))
    save("c", content_of(compressed=True))
    scored, aside = indexed(tmp_path)
    assert scored == ["b"]
    assert aside["c"] == (Reason.DUPLICATE, "of", "b")


def test_where_several_decode_nothing_tells_which_is_right(tmp_path, save):
    """One ends with zeros, as a copy does that was never finished."""
    save("a", content_of(), lambda content: content[:-3000] + bytes(3000))
    save("b", content_of())
    save("c", content_of())
    scored, aside = indexed(tmp_path)
    assert scored == []
    differs = "other pixels under one SOP Instance UID than in"
    assert aside == {
        "a": (Reason.CORRUPT, differs, "b"),
        "b": (Reason.CORRUPT, differs, "a"),
        "c": (Reason.CORRUPT, differs, "a"),
    }


def test_where_none_decodes_the_first_fails_as_it_is_drawn(tmp_path, save):
    save("a", content_of(compressed=True), spoiled)
    save("b", content_of(compressed=True), lambda c: spoiled(c).replace(b"\xff" * 64, b"\xfe" * 64))
    scored, aside = indexed(tmp_path)
    assert scored == ["a"]
    assert aside["b"][::2] == (Reason.CORRUPT, "a")


def test_compressed_copies_with_other_pixels_fail_too(tmp_path, save):
    """However long they are."""
    save("a", content_of(compressed=True))
    save("b", content_of(compressed=True, value=3))
    scored, aside = indexed(tmp_path)
    assert (tmp_path / "a").stat().st_size != (tmp_path / "b").stat().st_size
    assert scored == []
    assert {reason for reason, *_ in aside.values()} == {Reason.CORRUPT}


@pytest.mark.parametrize(
    "tags",
    [
        {"PatientID": "P2"},
        {"StudyDate": "20200102"},
        {"Modality": "DX", "ViewPosition": "LL"},
        {"NumberOfFrames": 2, "PixelData": bytes(2 * 8192)},
        {"Rows": 32, "Columns": 128},
    ],
    ids=str,
)
def test_another_image_under_the_same_uid_fails_by_name(tmp_path, save, tags):
    """As of an anonymiser that gives all films one UID."""
    save("a", content_of())
    other = content_of(value=3)
    other.update(dataset(**tags | {"PixelData": tags.get("PixelData", other.PixelData)}))
    other.Rows, other.Columns = tags.get("Rows", 64), tags.get("Columns", 64)
    save("b", other)
    scored, aside = indexed(tmp_path)
    assert scored == ["a"]
    detail = "it is another image with the SOP Instance UID of"
    assert aside == {"b": (Reason.CORRUPT, detail, "a")}


def test_a_copy_in_another_encoding_is_a_copy(tmp_path, save):
    save("a", content_of())
    save("b", content_of(compressed=True, PatientID="corrected"))
    scored, aside = indexed(tmp_path)
    assert scored == ["a"]
    assert aside == {"b": (Reason.DUPLICATE, "conflicting with", "a")}


def near_lossless(value=1, **tags):
    ds = content_of(value=value, **tags)
    ds.compress(JPEGLSNearLossless, jls_error=3, generate_instance_uid=False)
    return ds


@pytest.mark.parametrize("lossy", ["a", "c"])
def test_one_without_loss_goes_before(tmp_path, save, lossy):
    """Under whatever name: what is lossy does not hide that the others differ."""
    names = [name for name in "abc" if name != lossy]
    save(lossy, near_lossless())
    save(names[0], content_of())
    assert indexed(tmp_path)[0] == [names[0]]
    save(names[1], content_of(value=3))
    assert indexed(tmp_path)[0] == []


def test_of_two_lossy_ones_that_differ_one_is_no_copy(tmp_path, save):
    save("a", content_of())
    save("b", near_lossless())
    save("c", near_lossless(value=3))
    scored, aside = indexed(tmp_path)
    assert scored == ["a"]
    assert [aside[name][0] for name in "bc"] == [Reason.DUPLICATE, Reason.CORRUPT]


def test_a_lossy_one_that_looks_otherwise_is_no_copy(tmp_path, save):
    save("a", content_of())
    upside_down = content_of()
    upside_down.PixelData = np.arange(4096, dtype=np.uint16).reshape(64, 64)[::-1].tobytes()
    upside_down.compress(JPEGLSNearLossless, jls_error=3, generate_instance_uid=False)
    save("b", upside_down)
    assert indexed(tmp_path)[0] == []


def test_colours_that_were_converted_are_copies(tmp_path, save):
    """There and back, values differ by rounding."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    said = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "BitsAllocated": 8}
    said |= {"BitsStored": 8, "HighBit": 7}
    for name, colours in (("a", "RGB"), ("b", "YBR_FULL")):
        pixels = convert_color_space(rgb, "RGB", colours)
        ds = dataset(Rows=64, Columns=64, PhotometricInterpretation=colours, **said)
        ds.PixelData = pixels.tobytes()
        save(name, ds)
    scored, aside = indexed(tmp_path)
    assert scored == ["a"]
    assert aside["b"][0] is Reason.DUPLICATE


def test_a_copy_compressed_with_loss_is_told_by_its_header(tmp_path, save):
    save("a", content_of())
    save("b", near_lossless())
    save("c", near_lossless(PatientID="P2"))
    scored, aside = indexed(tmp_path)
    assert scored == ["a"]
    assert {name: reason for name, (reason, *_) in aside.items()} == {
        "b": Reason.DUPLICATE,
        "c": Reason.CORRUPT,
    }


def test_two_images_compressed_with_loss_are_no_copies(tmp_path, save):
    save("a", near_lossless())
    save("b", near_lossless(value=3))
    assert indexed(tmp_path)[0] == []


@pytest.mark.parametrize("tags", [{}, {"InstitutionName": "corrected"}, {"PatientID": "P2"}])
def test_equal_copies_are_not_decoded(tmp_path, save, tags):
    """However much their headers were changed."""
    save("a", content_of())
    save("b", content_of(**tags))

    def unwanted(file):
        raise AssertionError(file)

    catalogue = index([tmp_path], judge=unwanted)
    assert [o.reason for o in catalogue.set_aside] == [Reason.DUPLICATE]


def test_contents_are_read_once(tmp_path, save, monkeypatch):
    save("a", content_of())
    save("b", content_of())
    cache = Cache()
    first = indexed(tmp_path, cache=cache)
    monkeypatch.setattr(Readers, "_feed", lambda _: pytest.fail("a file is read again"))
    assert indexed(tmp_path, cache=cache) == first
