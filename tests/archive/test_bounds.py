"""Bounds on planes and sides, for files of every kind, each with a reason of its own."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medscan.archive import REASONS, Bucket, Reason, index
from medscan.choices import Bounds, Plane

from .conftest import Cache, write

WIDE = Bounds(1000, 1000, 1)


def aside(root, plane=None, **bounds):
    """Reason and detail of each file that is set aside."""
    made = {"file_planes": 1000, "study_planes": 1000, "side": 1} | bounds
    catalogue = index([root], plane, bounds=Bounds(**made))
    return {o.file.path: (o.reason, o.detail) for o in catalogue.set_aside}


def nifti(root, shape, name="v.nii.gz", affine=None):
    affine = np.diag([1.0, 1, 3, 1]) if affine is None else affine
    nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), affine), root / name)


def test_planes_of_a_volume_are_those_of_its_cut(tmp_path):
    nifti(tmp_path, (20, 30, 5, 4))
    assert aside(tmp_path, file_planes=20) == {}
    too_many = {"v.nii.gz": (Reason.TOO_MANY_PLANES, "it has 20")}
    assert aside(tmp_path, file_planes=19) == too_many
    assert aside(tmp_path, Plane.CORONAL, file_planes=119)["v.nii.gz"][1] == "it has 120"


def test_sides_of_a_volume_are_those_of_its_cut(tmp_path):
    nifti(tmp_path, (20, 30, 5))
    assert aside(tmp_path, side=20) == {}
    assert aside(tmp_path, side=21)["v.nii.gz"] == (
        Reason.TOO_SMALL, "one of its sides is 20 pixels",
    )  # fmt: skip
    assert aside(tmp_path, Plane.SAGITTAL, side=6)["v.nii.gz"][0] is Reason.TOO_SMALL


def test_frames_of_one_dicom_file_are_counted(tmp_path):
    write(tmp_path / "many.dcm", NumberOfFrames=7, PixelData=bytes(7 * 48))
    assert aside(tmp_path, file_planes=7) == {}
    assert aside(tmp_path, file_planes=6) == {"many.dcm": (Reason.TOO_MANY_PLANES, "it has 7")}
    assert aside(tmp_path, side=5)["many.dcm"] == (
        Reason.TOO_SMALL, "one of its sides is 4 pixels",
    )  # fmt: skip


def test_a_study_of_many_files_fails_as_a_whole(series, tmp_path):
    series(range(5))
    assert aside(tmp_path, study_planes=5) == {}
    outcomes = index([tmp_path], bounds=Bounds(1000, 4, 1)).set_aside
    assert len(outcomes) == 5
    assert {(o.reason, o.detail) for o in outcomes} == {(Reason.STUDY_TOO_LARGE, "the study has 5")}
    assert {(o.study, o.series) for o in outcomes} == {("1.2.3", "1.2.3.4")}


def test_a_file_beyond_its_bound_does_not_count_for_its_study(series, tmp_path):
    series(range(3))
    write(tmp_path / "many.dcm", SOPInstanceUID="1.9", NumberOfFrames=7, PixelData=bytes(7 * 48))
    assert set(aside(tmp_path, file_planes=6, study_planes=3)) == {"many.dcm"}
    assert len(aside(tmp_path, study_planes=9)) == 4


def test_a_small_page_does_not_cost_a_picture(tmp_path):
    pages = [Image.new("L", size) for size in ((40, 30), (8, 6))]
    pages[0].save(tmp_path / "p.tif", save_all=True, append_images=pages[1:])
    assert aside(tmp_path, side=30) == {}
    assert set(aside(tmp_path, side=31)) == {"p.tif"}


def test_a_volume_that_cannot_be_cut_is_still_corrupt(tmp_path):
    nifti(tmp_path, (20, 30, 5))
    content = bytearray(gzip.decompress((tmp_path / "v.nii.gz").read_bytes()))
    content[280:328] = bytes(48)  # sform
    content[252:254] = bytes(2)  # qform_code
    (tmp_path / "v.nii").write_bytes(content)
    assert aside(tmp_path)["v.nii"][0] is Reason.CORRUPT


def test_a_pair_is_refused_with_its_voxels(tmp_path):
    nib.save(
        nib.Nifti1Pair(np.zeros((20, 30, 5), np.uint8), np.diag([1, 1, 3, 1])), tmp_path / "p.hdr"
    )
    catalogue = index([tmp_path], bounds=Bounds(4, 1000, 1))
    assert [o.reason for o in catalogue.set_aside] == [Reason.TOO_MANY_PLANES]
    assert [c.path for c in catalogue.companions] == ["p.img"]


def test_a_cached_catalogue_is_of_its_bounds(series, tmp_path):
    series(range(5))
    cache = Cache(whole=True)
    assert len(index([tmp_path], cache=cache, bounds=Bounds(1000, 4, 1)).studies) == 0
    assert len(index([tmp_path], cache=cache, bounds=WIDE).studies) == 1
    assert len(index([tmp_path], cache=cache).studies) == 1


@pytest.mark.parametrize(
    ("reason", "bucket"),
    [
        (Reason.TOO_MANY_PLANES, Bucket.FAILED),
        (Reason.STUDY_TOO_LARGE, Bucket.FAILED),
        (Reason.TOO_SMALL, Bucket.SKIPPED),
    ],
)
def test_each_bound_has_a_reason_that_names_its_option(reason, bucket):
    assert REASONS[reason][0] is bucket
    assert "--" in REASONS[reason][1]
