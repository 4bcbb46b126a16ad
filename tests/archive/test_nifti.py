"""NIfTI headers with fields that other software overlooks."""

import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medscan.archive import Outcome, Reason, read_header
from medscan.archive.layout import ASSUMED
from tests.archive.volumes import AFFINE, DATA, VOXELS, agrees_with_itk, archived, nifti, opened

QFORM = np.array([[0, 1.2, 0, 3], [-1.0, 0, 0, 4], [0, 0, 2, 5], [0, 0, 0, 1]])


@pytest.mark.parametrize(("code", "size"), [(0, 1), (1, 1e-3), (2, 1), (3, 1e3)])
@pytest.mark.parametrize("form", ["qform_code", "sform_code"])
def test_units_become_millimetres(tmp_path, code, size, form):
    scaled = np.diag([size, size, size, 1]) @ AFFINE
    path = nifti(tmp_path / "v.nii", scaled, xyzt_units=code | 8, **{form: 0})
    _, affine, _ = opened(path)
    np.testing.assert_allclose(affine, AFFINE, rtol=1e-4, atol=1e-6)
    agrees_with_itk(path)


@pytest.mark.parametrize(
    ("slope", "intercept", "wanted"),
    [(2, np.nan, VOXELS * 2), (2, np.inf, VOXELS * 2), (2, -5, VOXELS * 2 - 5), (0, 5, VOXELS),
     (np.nan, 5, VOXELS), (np.inf, 0, VOXELS)],
)  # fmt: skip
def test_scaling(tmp_path, slope, intercept, wanted):
    path = nifti(tmp_path / "v.nii", scl_slope=slope, scl_inter=intercept)
    np.testing.assert_array_equal(opened(path)[0], wanted)
    if np.isfinite(slope) and slope:  # nifti1.h scales by no slope of 0, ITK adds its intercept
        image = sitk.ReadImage(str(path))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, wanted)


@pytest.mark.parametrize("packed", [False, True])
def test_voxels_without_an_offset_follow_the_header(tmp_path, packed):
    path = nifti(tmp_path / "v.nii", vox_offset=0)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(opened(path)[0], VOXELS)


def test_an_offset_into_the_header_is_refused(tmp_path):
    path = nifti(tmp_path / "v.nii", vox_offset=100)
    assert read_header(archived(path)).reason is Reason.CORRUPT
    path = nifti(tmp_path / "v.nii", vox_offset=0)
    content = bytearray(path.read_bytes())
    content[348] = 1  # an extension, of unknown length, comes before the voxels
    path.write_bytes(content)
    assert read_header(archived(path)).reason is Reason.CORRUPT


def test_two_header_bytes_more_of_nifti_2(tmp_path):
    nib.save(nib.Nifti2Image(VOXELS, AFFINE), tmp_path / "v.nii")
    content = bytearray((tmp_path / "v.nii").read_bytes())
    content[168:176] = bytes(8)  # vox_offset
    (tmp_path / "v.nii").write_bytes(content)
    np.testing.assert_array_equal(opened(tmp_path / "v.nii")[0], VOXELS)


@pytest.mark.parametrize("row", [0.0, np.nan])
def test_an_sform_that_cannot_be_used_gives_way_to_the_qform(tmp_path, row):
    rows = dict.fromkeys(("srow_x", "srow_y", "srow_z"), [row] * 4)
    _, affine, notes = opened(nifti(tmp_path / "v.nii", QFORM, **rows))
    np.testing.assert_allclose(affine, QFORM, atol=1e-6)
    assert notes == ("sform cannot be used: qform taken",)
    assert opened(nifti(tmp_path / "w.nii"))[2] == ()


def test_both_forms_are_kept_in_millimetres(tmp_path):
    image = nib.Nifti1Image(VOXELS, None)
    image.set_qform(QFORM * np.array([[1e3], [1e3], [1e3], [1]]), 1)
    image.set_sform(AFFINE * np.array([[1e3], [1e3], [1e3], [1]]), 2)
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "v.nii")
    volume = read_header(archived(tmp_path / "v.nii")).volume
    np.testing.assert_allclose(np.reshape(volume.qform, (4, 4)), QFORM, atol=1e-5)
    np.testing.assert_allclose(np.reshape(volume.sform, (4, 4)), AFFINE, atol=1e-5)
    assert volume.codes == (1, 2)
    assert volume.affine == volume.sform


def test_without_codes_the_orientation_is_assumed(tmp_path):
    path = nifti(tmp_path / "v.nii", qform_code=0, sform_code=0)
    volume = read_header(archived(path)).volume
    assert (volume.codes, volume.qform, volume.sform) == ((0, 0), (), ())
    assert opened(path)[2] == (ASSUMED,)


def test_single_bits_are_refused_by_name(tmp_path):
    found = read_header(archived(nifti(tmp_path / "v.nii", datatype=1, bitpix=1)))
    assert isinstance(found, Outcome)
    assert (found.reason, found.detail) == (Reason.UNSUPPORTED, "its voxels are single bits")


def test_voxels_of_a_pair_that_look_packed_are_read_as_they_are(tmp_path):
    voxels = VOXELS.copy(order="F")
    voxels[0, 0, 0] = int.from_bytes(b"\x1f\x8b", "little", signed=True)
    nib.save(nib.Nifti1Pair(voxels, AFFINE), tmp_path / "p.hdr")
    assert len((tmp_path / "p.img").read_bytes()) == len(DATA)
    np.testing.assert_array_equal(opened(tmp_path / "p.hdr")[0], voxels)
