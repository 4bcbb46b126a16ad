"""Pixels of real files: those that pydicom ships, and an archive beside the project if there."""

import csv
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medscan.archive.geometry import cut_geometry
from medscan.archive.types import ArchiveFile, Kind
from medscan.errors import FileError
from medscan.imaging.dicom import DicomFile
from medscan.imaging.quiet import reading
from medscan.imaging.volume import open_volume

LIMIT = 2**28
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
ARCHIVE = Path(__file__).parents[3] / "shared" / "archive"
# Differently encoded, the same pixels.
SAME = [
    ("MR_small.dcm", "MR_small_RLE.dcm"),
    ("MR_small.dcm", "MR_small_bigendian.dcm"),
    ("MR_small.dcm", "MR_small_expb.dcm"),
    ("MR_small.dcm", "MR_small_implicit.dcm"),
    ("MR_small.dcm", "MR_small_jp2klossless.dcm"),
    ("MR_small.dcm", "MR_small_jpeg_ls_lossless.dcm"),
    ("SC_rgb_rle.dcm", "SC_rgb_rle_2frame.dcm"),
    ("SC_rgb_rle_16bit.dcm", "SC_rgb_rle_32bit.dcm"),
    ("SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm"),
    ("liver_1frame.dcm", "liver_expb_1frame.dcm"),
    ("rtdose.dcm", "rtdose_expb.dcm"),
    ("rtdose.dcm", "rtdose_rle.dcm"),
    ("rtdose_1frame.dcm", "rtdose_rle_1frame.dcm"),
]


def archived(root, path):
    stat = (root / path).stat()
    return ArchiveFile(path, root, stat.st_size, stat.st_mtime_ns)


def dicom(root, path, frame=0):
    with reading():
        return DicomFile(archived(root, path), LIMIT).plane(frame)


def test_files_that_pydicom_ships_are_read():
    refused = {}
    paths = sorted(SHIPPED.glob("*.dcm"))
    for path in paths:
        try:
            assert np.isfinite(dicom(SHIPPED, path.name).pixels).all()
        except FileError as error:
            refused[path.name] = str(error)
    assert len(paths) - len(refused) >= 59, refused
    assert not any("\n" in message for message in refused.values())
    without_image = ("has no pixel data", "image without rows or columns")
    broken = {name for name, message in refused.items() if message not in without_image}
    known = {"JPEG2000-embedded-sequence-delimiter.dcm", "MR_truncated.dcm", "badVR.dcm"}
    assert broken <= known, refused


@pytest.mark.parametrize(("one", "other"), SAME)
def test_encodings_of_the_same_pixels_agree(one, other):
    if not ((SHIPPED / one).exists() and (SHIPPED / other).exists()):
        pytest.skip("not shipped with this pydicom")
    reference, tried = dicom(SHIPPED, one), dicom(SHIPPED, other)
    assert np.array_equal(reference.pixels, tried.pixels)


def summary(pixels):
    return float(pixels.min()), float(pixels.max()), float(pixels.mean(dtype=np.float64))


def agrees(row, prefix, found):
    """To 1e-3 relative, 2 % of the range for lossy encodings."""
    wanted = [float(row[f"{prefix}_{name}"]) for name in ("min", "max", "mean")]
    name = row["transfer_syntax_name"]
    lossy = any(w in name for w in ("Baseline", "Extended", "Lossy", "JPEG 2000 Image Compression"))
    scale = 0.02 * (wanted[1] - wanted[0]) if lossy and "Only" not in name else 0.0
    return all(
        abs(f - w) <= max(scale, 1e-3 * abs(w), 1e-6) for f, w in zip(found, wanted, strict=True)
    )


def rows(*kinds):
    table = ARCHIVE / "expected.csv"
    if not table.exists():
        pytest.skip("no archive beside the project")
    with table.open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row["kind"].startswith(kinds)]


def test_archive_dicom_agrees_with_other_readers():
    agree, differ, refused = 0, [], []
    for row in rows("dicom"):
        if row["expected"] != "scanned" or row["photometric"] == "PALETTE COLOR":
            continue
        try:
            plane = dicom(ARCHIVE / "files", row["path"])
        except FileError:
            refused.append(row["path"])
            continue
        prefix = "rgb" if row["rgb_min"] else "ref"
        if agrees(row, prefix, summary(plane.pixels)):
            agree += 1
        else:
            differ.append(row["path"])
    assert agree >= 545, (differ, refused)
    assert len(refused) <= 1, refused
    # Padding masked, deep colour scaled to 8 bits, a modality LUT applied, JFIF in an RGB object.
    assert len(differ) <= 15, differ


def test_archive_nifti_agrees_with_nibabel():
    agree, differ = 0, []
    for row in rows("nifti"):
        if row["expected"] != "scanned" or not row["nib_min"]:
            continue
        with reading():
            volume = open_volume(archived(ARCHIVE / "files", row["path"]), Kind.NIFTI, LIMIT)
            cut = cut_geometry(volume.affine, volume.voxels.shape)
            count = cut.frames * int(np.prod(volume.voxels.shape[3:]))
            if count > 400:
                continue
            planes = [volume.plane(cut.plane, i).pixels for i in range(count)]
        if agrees(row, "nib", summary(np.stack(planes))):
            agree += 1
        else:
            differ.append(row["path"])
    assert agree >= 43, differ
    assert len(differ) <= 3, differ
