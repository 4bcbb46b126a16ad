from __future__ import annotations

import gzip
import json
import os
import struct
import tracemalloc
import zipfile
import zlib

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian

from medscan.archive import (
    Kind,
    Outcome,
    Reason,
    from_json,
    index,
    read_header,
    to_json,
    walk,
)

from .conftest import Cache, as_file, dataset, outcome, stacks_of, write


def test_what_routing_needs_is_read(tmp_path):
    header = outcome(
        write(
            tmp_path / "no.suffix",
            Modality="mr",
            BodyPartExamined="HEAD",
            SeriesDescription="t2 flair",
            ProtocolName="brain",
            SequenceName="tir2d",
            StudyDate="20240131",
            SeriesNumber=7,
            EchoTime="81.25",
        )
    )
    assert (header.kind, header.modality, header.body_part) == (Kind.DICOM, "MR", "HEAD")
    assert header.description == "t2 flair | brain | tir2d"
    assert (header.date, header.patient_id, header.series_number) == ("20240131", "P1", 7)
    (layer,) = header.layers
    assert (layer.rows, layer.columns, layer.spacing) == (4, 6, (0.5, 0.7))
    assert layer.orientation == (1, 0, 0, 0, 1, 0)


@pytest.mark.parametrize("plain", [True, False])
def test_the_accession_number_is_read_only_where_identities_are_kept(tmp_path, plain, monkeypatch):
    if not plain:  # then pydicom reads the header
        monkeypatch.setattr("medscan.archive.dicom.read_elements", lambda *_: None)
    (file,) = walk(write(tmp_path / "one", AccessionNumber=" A1 "))
    assert read_header(file).accession_number == ""
    assert read_header(file, identify=True).accession_number == "A1"


def test_headers_survive_json(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.eye(4)), tmp_path / "v.nii")
    write(tmp_path / "a.dcm", ImageType=["ORIGINAL", "PRIMARY"])
    (tmp_path / "t").write_text("hello")
    for path in tmp_path.iterdir():
        found = outcome(path)
        again = from_json(as_file(path), json.loads(json.dumps(to_json(found))))
        assert again == found
    assert from_json(as_file(path), to_json(found) | {"format": -1}) is None


def test_a_cache_spares_the_reading(tmp_path):
    write(tmp_path / "a.dcm")
    (tmp_path / "b").write_bytes(b"")
    cache, counts = Cache(), []
    first = index([tmp_path], cache=cache, progress=counts.append)
    assert len(cache) == 2
    assert counts[-1] == 2
    assert counts == sorted(counts)
    size = (tmp_path / "a.dcm").stat()
    (tmp_path / "a.dcm").write_bytes(bytes(size.st_size))
    os.utime(tmp_path / "a.dcm", ns=(size.st_atime_ns, size.st_mtime_ns))
    assert index([tmp_path], cache=cache) == first


@pytest.mark.parametrize(
    "content",
    [b"", b"hello\n", b"<html>", b"%PDF-1.7", b"\x1f\x8bgarbage", bytes(600), b"\x08\x00" * 40],
)
def test_anything_else_is_no_image(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    assert outcome(tmp_path / "x").reason is Reason.NOT_AN_IMAGE


def test_archives_are_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.dcm", "w") as archive:
        archive.writestr("a", "b")
    (tmp_path / "g").write_bytes(gzip.compress(b"<xml/>"))
    assert outcome(tmp_path / "z.dcm").detail == "a zip archive"
    assert outcome(tmp_path / "g").detail == "gzip-compressed: XML or HTML"


def test_a_broken_promise_is_a_failure(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"")
    (tmp_path / "b.dcm").write_bytes(b"it was one")
    assert outcome(tmp_path / "a.nii.gz").reason is Reason.TRUNCATED
    assert outcome(tmp_path / "b.dcm").reason is Reason.CORRUPT


@pytest.mark.parametrize(("implicit", "little"), [(True, True), (False, True), (False, False)])
def test_headerless_dicom_is_read(tmp_path, implicit, little):
    ds = dataset(PixelData=None)
    del ds.file_meta
    ds.add_new(0x7FE00010, "OW", bytes(48))
    ds.save_as(tmp_path / "x", implicit_vr=implicit, little_endian=little)
    assert outcome(tmp_path / "x").layers[0].columns == 6


def test_big_endian_and_compressed_files_are_read(tmp_path):
    ds = dataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds["PixelData"].VR = "OW"
    ds.save_as(tmp_path / "big", enforce_file_format=True)
    (tmp_path / "packed").write_bytes(gzip.compress((tmp_path / "big").read_bytes()))
    assert outcome(tmp_path / "big").layers == outcome(tmp_path / "packed").layers


def zeros(mebibytes: int) -> bytes:
    """What inflates to that many."""
    packer = zlib.compressobj(wbits=-15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * mebibytes + packer.flush()


def deflated(body: bytes) -> bytes:
    uid = b"1.2.840.10008.1.2.1.99"
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(uid)) + uid
    packer = zlib.compressobj(wbits=-15)
    head = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta)) + meta
    return bytes(128) + b"DICM" + head + packer.compress(body) + packer.flush()


def test_deflated_headers_are_read_and_bombs_are_not_unpacked(tmp_path):
    ds = dataset()
    del ds.file_meta
    ds["PixelData"].VR = "OW"
    ds.save_as(tmp_path / "x", implicit_vr=False, little_endian=True)
    plain = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(deflated(plain))
    assert outcome(tmp_path / "x").layers[0].rows == 4
    bomb = struct.pack("<HH2sHI", 9, 0x10, b"OB", 0, 2**31) + bytes(200 * 2**20)
    (tmp_path / "bomb").write_bytes(deflated(bomb))
    assert isinstance(outcome(tmp_path / "bomb"), Outcome)
    disguised = deflated(bomb).replace(b"UL\4\0", b"UN\4\0", 1)
    (tmp_path / "disguised").write_bytes(disguised)
    assert outcome(tmp_path / "disguised").reason is Reason.CORRUPT
    (tmp_path / "cut").write_bytes(deflated(plain)[:300])
    assert isinstance(outcome(tmp_path / "cut"), Outcome)


def test_a_deflated_bomb_that_hides_its_syntax_is_not_unpacked(tmp_path):
    uid = b"1.2.840.10008.1.2.1.99"
    meta = struct.pack("<HH2sHI", 2, 1, b"OB", 0, 300_000) + bytes(300_000)
    meta += struct.pack("<HH2sH", 2, 0x10, b"UI", len(uid)) + uid
    head = bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta))
    (tmp_path / "x").write_bytes(head + meta + zeros(150))
    (tmp_path / "bare").write_bytes(meta + zeros(150))
    (tmp_path / "packed").write_bytes(gzip.compress(head + meta + zeros(150)))
    tracemalloc.start()
    assert outcome(tmp_path / "x").reason is Reason.CORRUPT
    assert isinstance(outcome(tmp_path / "bare"), Outcome)
    assert isinstance(outcome(tmp_path / "packed"), Outcome)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"PixelData": None}, Reason.CORRUPT),
        ({"PixelData": None, "Rows": None}, Reason.NOT_AN_IMAGE),
        ({"PixelData": None, "Columns": None}, Reason.NOT_AN_IMAGE),
        ({"PixelData": None, "BitsAllocated": None}, Reason.NOT_AN_IMAGE),
        ({"PixelData": b""}, Reason.CORRUPT),
        ({"Rows": None}, Reason.CORRUPT),
        ({"PixelData": bytes(20)}, Reason.TRUNCATED),
        ({"Rows": 65535, "Columns": 65535}, Reason.TRUNCATED),
        ({"Rows": 32768, "Columns": 65535}, Reason.TRUNCATED),
        ({"NumberOfFrames": 2**31 - 1}, Reason.TOO_LARGE),
        ({"NumberOfFrames": 10**6}, Reason.TOO_LARGE),
        ({"NumberOfFrames": -3}, Reason.CORRUPT),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, Reason.LOCALIZER),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, Reason.DERIVED),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2"}, Reason.DERIVED),
        ({"SOPClassUID": "1.2.840.10008.1.3.10"}, Reason.NOT_AN_IMAGE),
    ],
)
def test_what_a_header_gives_away(tmp_path, tags, reason):
    found = outcome(write(tmp_path / "x", **tags))
    assert found.reason is reason
    assert found.detail


def test_pixel_data_of_unknown_depth_are_corrupt(tmp_path):
    ds = dataset(BitsAllocated=None)
    ds["PixelData"].VR = "OW"
    ds.save_as(tmp_path / "x", enforce_file_format=True)
    assert outcome(tmp_path / "x").reason is Reason.CORRUPT


def test_a_cut_header_is_truncated(tmp_path):
    path = write(tmp_path / "x", PatientComments="x" * 900)
    content = path.read_bytes()
    for cut in range(140, len(content), 37):
        path.write_bytes(content[:cut])
        assert isinstance(outcome(path), Outcome)


@pytest.mark.parametrize(
    ("depth", "reasons"),
    [(50, {Reason.CORRUPT, Reason.TRUNCATED}), (5000, {Reason.HEADER_TOO_LARGE})],
)
def test_nested_sequences_are_survived(tmp_path, depth, reasons):
    item, sequence = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\x40\x00\x75\xa0SQ\0\0\xff\xff\xff\xff"
    path = write(tmp_path / "x")
    content = path.read_bytes()
    at = content.index(b"\x28\x00\x02\x00US")
    path.write_bytes(content[:at] + (sequence + item) * depth + content[at:])
    assert outcome(path).reason in reasons


@pytest.mark.parametrize(
    "tags",
    [
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"ImageOrientationPatient": [1, 0, 0]},
        {"ImageOrientationPatient": None},
    ],
)
def test_orientations_that_are_none_are_unknown(tmp_path, tags):
    header = outcome(write(tmp_path / "x", **tags))
    assert header.layers[0].orientation is None


def test_numbers_that_are_none_are_unknown(tmp_path):
    path = write(tmp_path / "x", ImagePositionPatient=[11, 22, 33], InstanceNumber=77)
    content = path.read_bytes()
    at = content.index(b"\x20\x00\x32\x00DS") + 8
    path.write_bytes(content[:at].replace(b"77", b"?!") + b"1x" + content[at + 2 :])
    header = outcome(path)
    assert (header.layers[0].position, header.instance_number) == (None, None)


def test_enhanced_objects_are_read_frame_by_frame(tmp_path):
    path = write(
        tmp_path / "x",
        NumberOfFrames=2,
        PixelData=bytes(96),
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PixelSpacing=None,
        SharedFunctionalGroupsSequence=[
            nested("PlaneOrientationSequence", ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
        ],
        PerFrameFunctionalGroupsSequence=[
            nested("PlanePositionSequence", ImagePositionPatient=[x, 0, 0]) for x in (5, 3)
        ],
    )
    header = outcome(path)
    assert [y.position for y in header.layers] == [(5, 0, 0), (3, 0, 0)]
    assert {y.orientation for y in header.layers} == {(0, 1, 0, 0, 0, -1)}
    (stack,) = stacks_of(tmp_path)
    assert [f.index for f in stack.frames] == [0, 1]  # the normal points to the right
    assert stack.plane == "sagittal"


def nested(group, **tags):
    inner, outer = Dataset(), Dataset()
    for keyword, value in tags.items():
        setattr(inner, keyword, value)
    setattr(outer, group, Sequence([inner]))
    return outer


def test_pictures_are_told_by_content(tmp_path):
    Image.new("L", (5, 3)).save(tmp_path / "a.png")
    Image.new("RGB", (5, 3)).save(tmp_path / "b", "JPEG")
    pages = [Image.new("I;16", (5, 3)), Image.new("I;16", (5, 3)), Image.new("I;16", (7, 3))]
    pages[0].save(tmp_path / "c.dcm", "TIFF", save_all=True, append_images=pages[1:])
    (tmp_path / "d").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    catalogue = index([tmp_path])
    sizes = {
        s.files()[0].path: [(len(k.frames), k.rows, k.columns) for k in s.series[0].stacks]
        for s in catalogue.studies
    }
    assert sizes == {"a.png": [(1, 3, 5)], "b": [(1, 3, 5)], "c.dcm": [(2, 3, 5), (1, 3, 7)]}
    assert [o.reason for o in catalogue.set_aside] == [Reason.CORRUPT]


def test_pictures_of_absurd_size_are_refused(tmp_path):
    Image.new("L", (5, 3)).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    assert outcome(tmp_path / "a.png").reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("sop_class", "detail"),
    [
        ("1.2.840.10008.5.1.4.1.1.30", "a parametric map"),
        ("1.2.840.10008.5.1.4.1.1.66.7", "a label map"),
        ("1.2.840.10008.5.1.4.1.1.66.8", "a height map"),
        ("1.2.840.10008.5.1.4.1.1.81.1", "an ophthalmic thickness map"),
        ("1.2.840.10008.5.1.4.1.1.82.1", "a corneal topography map"),
        ("1.2.840.10008.5.1.4.1.1.481.2", "an RT dose"),
    ],
)
def test_maps_that_were_made_from_images_are_derived(tmp_path, sop_class, detail):
    found = outcome(write(tmp_path / "x", SOPClassUID=sop_class))
    assert (found.reason, found.detail) == (Reason.DERIVED, detail)


@pytest.mark.parametrize(
    ("sop_class", "likely"),
    [
        ("1.2.840.10008.5.1.4.1.1.7", True),
        ("1.2.840.10008.5.1.4.1.1.7.4", True),
        ("1.2.840.10008.5.1.4.1.1.77.1.5.4", False),
    ],
)
def test_secondary_captures_may_show_text(tmp_path, sop_class, likely):
    """Ophthalmic tomography, whose UID starts with the same digits, is no secondary capture."""
    found = outcome(write(tmp_path / "x", SOPClassUID=sop_class))
    assert ("burned-in text likely" in found.notes) is likely
