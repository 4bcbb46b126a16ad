"""Pixels of real files: those that pydicom ships, and an archive beside the project if there."""

import io
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_modality_lut

from medscan.archive.geometry import cut_geometry
from medscan.archive.types import ArchiveFile, Kind
from medscan.decoding.dicom import DicomFile
from medscan.decoding.quiet import file_errors
from medscan.errors import FileError
from medscan.imaging.volume import open_volume

from .conftest import ARCHIVE, rows

MAX_FILE_BYTES = 2**28
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
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
    with file_errors():
        return DicomFile(archived(root, path), MAX_FILE_BYTES).plane(frame)


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


def scanned(*kinds):
    found = [row for row in rows("expected.csv") if row["kind"].startswith(kinds)]
    if not found:
        pytest.skip("no archive beside the repository")
    return [row for row in found if row["expected"] == "scanned"]


def stored(path):
    with file_errors():
        ds = pydicom.dcmread(ARCHIVE / "files" / path, force=True)
        return ds, ds.pixel_array


def padded(path):
    """Padding takes the smallest value, or it would decide what the window shows as black."""
    with file_errors():
        ds = pydicom.dcmread(ARCHIVE / "files" / path, force=True, stop_before_pixels=True)
    image = SimpleITK.ReadImage(str(ARCHIVE / "files" / path), imageIO="GDCMImageIO")
    values = SimpleITK.GetArrayFromImage(image)[0].astype(np.float64)
    kind = np.dtype(f"{'iu'[ds.PixelRepresentation == 0]}{ds.BitsAllocated // 8}")
    padding = np.int64(ds.PixelPaddingValue).astype(kind)
    hidden = values == padding * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    assert hidden.any()
    return np.where(hidden, values[~hidden].min(), values)


def deep(path):
    """Colour of more than 8 bits is scaled to 8, which models are fed with."""
    ds, pixels = stored(path)
    return pixels.reshape(-1, *pixels.shape[-3:])[0] * (255.0 / (2.0**ds.BitsStored - 1))


def palette(path):
    """Colours, not the numbers of colours."""
    image = SimpleITK.ReadImage(str(ARCHIVE / "files" / path), imageIO="GDCMImageIO")
    pixels = SimpleITK.GetArrayFromImage(image)
    return pixels.reshape(-1, *pixels.shape[-3:])[0]


def jfif(path):
    """The header says RGB, the JPEG itself that it is YCbCr: teeth are white only so."""
    ds = pydicom.dcmread(ARCHIVE / "files" / path)
    return np.asarray(Image.open(io.BytesIO(next(generate_frames(ds.PixelData)))))


def modality_table(path):
    """A modality LUT stands in place of slope and intercept."""
    ds, pixels = stored(path)
    return apply_modality_lut(pixels, ds)


def codestream(path):
    """Signed, as its header says and its air (-2000) proves; its JPEG 2000 says otherwise."""
    return stored(path)[1]


def twelve(path):
    """12 bits packed as PS3.5 8.1.1 says: a head; as GDCM unpacks them: none."""
    ds = pydicom.dcmread(ARCHIVE / "files" / path, force=True)
    bits = np.unpackbits(np.frombuffer(ds.PixelData, "u1"), bitorder="little")
    return (bits.reshape(-1, 12) @ 2 ** np.arange(12)).reshape(ds.Rows, ds.Columns)


EXPLAINED = {
    padded: (
        "PACS/by-ticket/D_CLUNIE_CT1_RLE_FRAGS.dcm",
        "incoming/2020/vendor demo discs/693_J2KR.dcm",
        "incoming/2020/vendor demo discs/693_UNCR.dcm",
        "research/viewer/nema-ct1_jpll.dcm",
    ),
    deep: (
        "incoming/2019/unsorted/SC_rgb_rle_16bit.dcm",
        "incoming/2019/unsorted/SC_rgb_rle_16bit_2frame.dcm",
        "incoming/2019/unsorted/SC_rgb_rle_32bit.dcm",
        "incoming/2019/unsorted/SC_rgb_rle_32bit_2frame.dcm",
        "incoming/2020/vendor demo discs/SC_rgb_16bit_2frame.dcm",
        "incoming/2020/vendor demo discs/SC_rgb_32bit.dcm",
        "incoming/2020/vendor demo discs/SC_rgb_expb_16bit.dcm",
    ),
    palette: (
        "PACS/OT/US-PAL-8-10x-echo",
        "PACS/OT/jpeg-ls-Palette.dcm",
        "PACS/by-ticket/TestPattern_Palette.dcm",
        "PACS/by-ticket/TestPattern_Palette_16.dcm",
        "incoming/2019/unsorted/examples_palette.dcm",
        "incoming/2020/vendor demo discs/OBXXXX1A_rle.dcm",
        "incoming/2020/vendor demo discs/OBXXXX1A_rle_2frame.dcm",
        "incoming/2020/vendor demo discs/OT-PAL-8-face.dcm",
    ),
    jfif: ("PACS/by-ticket/GH195.dcm",),
    modality_table: ("incoming/2020/vendor demo discs/mlut_18.dcm",),
    codestream: ("incoming/2019/unsorted/J2K_pixelrep_mismatch.dcm",),
    twelve: ("PACS/by-ticket/GH340.dcm",),
}
"""Files whose pixels differ from the table's, and what says that they should."""


def first_frame(path):
    """Frame 0, or all tiles of a mosaic and what is black around them."""
    with file_errors():
        file = DicomFile(archived(ARCHIVE / "files", path), MAX_FILE_BYTES)
        if file.mosaic is None:
            return file.plane(0).pixels
        tiles = [file.plane(n).pixels for n in range(file.mosaic.tiles)]
    black = file.mosaic.across**2 - len(tiles)
    return np.stack([*tiles, *[np.zeros_like(tiles[0])] * black])


def test_archive_dicom_agrees_with_other_readers():
    differ = set()
    for row in scanned("dicom"):
        prefix = "rgb" if row["rgb_min"] else "ref"
        if not agrees(row, prefix, summary(first_frame(row["path"]))):
            differ.add(row["path"])
    assert differ == {path for paths in EXPLAINED.values() for path in paths}


@pytest.mark.parametrize(("reference", "path"), [(r, p) for r in EXPLAINED for p in EXPLAINED[r]])
def test_where_the_archives_table_is_not_followed(reference, path):
    if not ARCHIVE.is_dir():
        pytest.skip("no archive beside the repository")
    wanted = np.asarray(reference(path), dtype=np.float64)
    found = first_frame(path)
    assert found.shape == wanted.shape
    # A palette of 16 bits has its white at 65280 or 65535: a step of 8 bits.
    assert np.abs(found - wanted).max() <= (1.0 if reference is palette else 1e-3)


def voxels(path):
    """As nibabel has them: without alpha, which is no colour, and what is not a number."""
    data = nibabel.load(path).dataobj[...]
    if data.dtype.names:
        return np.stack([data[c] for c in "RGB"])
    return data[np.isfinite(data)] if data.dtype.kind == "f" else data


UNLIKE = {
    "research/conv/generic/rgb/001_ground_truth.nii.gz": "alpha is no colour",
    "research/conv/generic/rgb/001_ground_truth_reoriented.nii.gz": "alpha is no colour",
    "research/neuro/formats/resampled_anat_moved.nii": (
        "what is not a number takes the smallest value of its slice, not none: in the mean"
    ),
}
"""NIfTI files whose pixels differ from the table's, and why."""


def test_archive_nifti_agrees_with_nibabel():
    differ = {}
    for row in scanned("nifti"):
        path = ARCHIVE / "files" / row["path"]
        with file_errors():
            volume = open_volume(
                archived(ARCHIVE / "files", row["path"]), Kind.NIFTI, MAX_FILE_BYTES
            )
            cut = cut_geometry(volume.affine, volume.voxels.shape)
            count = cut.frames * int(np.prod(volume.voxels.shape[3:]))
            planes = np.stack([volume.plane(cut.plane, i).pixels for i in range(count)])
        assert np.isfinite(planes).all()
        if not (row["nib_min"] and agrees(row, "nib", summary(planes))):
            differ[row["path"]] = summary(planes), summary(voxels(path))
    assert set(differ) == set(UNLIKE), differ
    for path, (found, wanted) in differ.items():
        same = 3 if "alpha" in UNLIKE[path] else 2
        assert found[:same] == pytest.approx(wanted[:same], rel=1e-3), path
