from __future__ import annotations

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from medscan.archive import Kind, Reason, cut_geometry, index

from .conftest import outcome, rotation, stacks_of

AFFINE = np.array([[-1.0, 0, 0.2, 5], [0, 1.5, 0, -7], [0.1, 0, 3, 11], [0, 0, 0, 1]])


def volume(shape=(3, 4, 5), dtype=np.int16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_nifti_is_told_by_content(tmp_path, kind, name):
    nib.save(kind(volume(), AFFINE), tmp_path / name)
    (tmp_path / name).rename(tmp_path / "renamed.dcm")
    header = outcome(tmp_path / "renamed.dcm")
    assert (header.kind, header.volume.shape) == (Kind.NIFTI, (3, 4, 5))
    np.testing.assert_allclose(np.reshape(header.volume.affine, (4, 4)), AFFINE, atol=1e-6)


def test_big_endian_nifti(tmp_path):
    image = nib.Nifti1Image(volume(), AFFINE, nib.Nifti1Header(endianness=">"))
    nib.save(image, tmp_path / "v.nii")
    assert outcome(tmp_path / "v.nii").volume.shape == (3, 4, 5)


def test_a_volume_is_a_study_named_after_its_path(tmp_path):
    (tmp_path / "sub").mkdir()
    nib.save(nib.Nifti1Image(volume(), AFFINE), tmp_path / "sub" / "case.1_T2.nii.gz")
    (study,) = index([tmp_path]).studies
    (series,) = study.series
    assert (series.modality, series.description, study.uid) == ("", "case.1_T2", "")
    assert len(study.key) == 16


def test_pairs_go_together(tmp_path):
    nib.save(nib.Nifti1Pair(volume(), AFFINE), tmp_path / "p.hdr")
    catalogue = index([tmp_path])
    (study,) = catalogue.studies
    assert [f.path for f in study.files()] == ["p.hdr"]
    assert {c.path: h.path for c, h in catalogue.companions.items()} == {"p.img": "p.hdr"}
    assert catalogue.set_aside == ()
    assert len(index([tmp_path / "p.hdr"]).studies) == 1


@pytest.mark.parametrize("left", [0, 20, None])
def test_pairs_that_are_not_whole_fail(tmp_path, left):
    nib.save(nib.Nifti1Pair(volume(), AFFINE), tmp_path / "p.hdr")
    content = (tmp_path / "p.img").read_bytes()
    if left is None:
        (tmp_path / "p.img").unlink()
    else:
        (tmp_path / "p.img").write_bytes(content[:left])
    catalogue = index([tmp_path])
    assert catalogue.studies == ()
    assert [o.reason for o in catalogue.set_aside] == [Reason.TRUNCATED]
    assert len(catalogue.companions) == (left is not None)


def test_truncation_and_bombs_are_seen_from_the_header(tmp_path):
    nib.save(nib.Nifti1Image(volume(), AFFINE), tmp_path / "v.nii")
    content = bytearray((tmp_path / "v.nii").read_bytes())
    (tmp_path / "v.nii").write_bytes(content[:-1])
    assert outcome(tmp_path / "v.nii").reason is Reason.TRUNCATED
    content[42:48] = struct.pack("<3h", 30000, 30000, 30000)
    (tmp_path / "v.nii.gz").write_bytes(gzip.compress(bytes(content)))
    assert outcome(tmp_path / "v.nii.gz").reason is Reason.TRUNCATED
    (tmp_path / "h.nii").write_bytes(content[:348])
    assert outcome(tmp_path / "h.nii").reason is Reason.TRUNCATED


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (42, struct.pack("<h", 0)),
        (42, struct.pack("<h", -3)),
        (40, struct.pack("<h", 99)),
        (70, struct.pack("<h", 12345)),
        (280, struct.pack("<f", float("nan"))),
        (280, bytes(48)),
    ],
)
def test_nifti_headers_that_lie_are_corrupt(tmp_path, at, value):
    nib.save(nib.Nifti1Image(volume(), AFFINE), tmp_path / "v.nii")
    content = bytearray((tmp_path / "v.nii").read_bytes())
    content[at : at + len(value)] = value
    (tmp_path / "v.nii").write_bytes(content)
    catalogue = index([tmp_path])
    assert [o.reason for o in catalogue.set_aside] == [Reason.CORRUPT]


def test_notes_on_geometry(tmp_path):
    image = nib.Nifti1Image(volume(), None)
    image.header.set_sform(None, 0)
    nib.save(image, tmp_path / "a.nii")
    sheared = np.eye(4)
    sheared[1, 2] = 0.3
    nib.save(nib.Nifti1Image(volume(), sheared), tmp_path / "b.nii")
    notes = {s.frames[0].file.path: s.notes for s in stacks_of(tmp_path)}
    assert notes == {
        "a.nii": ("no orientation in the header: assumed",),
        "b.nii": ("tilted",),
    }


def itk_image(turn, dimension=3):
    shape = (5, 4, 3) if dimension == 3 else (2, 5, 4, 3)
    image = sitk.GetImageFromArray(volume(shape), isVector=False)
    if dimension == 3:
        image.SetSpacing((1.0, 1.5, 3.0))
        image.SetOrigin((5.0, -7.0, 11.0))
        image.SetDirection(turn.ravel().tolist())
    return image


@pytest.mark.parametrize("name", ["v.mha", "v.mhd", "v.nrrd", "v.nhdr"])
@pytest.mark.parametrize("packed", [False, True])
def test_itk_headers_mean_what_itk_takes_them_for(tmp_path, name, packed):
    for seed in range(3):
        image = itk_image(rotation(np.random.default_rng(seed)))
        sitk.WriteImage(image, str(tmp_path / name), useCompression=packed)
        header = outcome(tmp_path / name)
        assert (header.kind, header.volume.shape) == (Kind.ITK, (3, 4, 5))
        affine = np.reshape(header.volume.affine, (4, 4))
        for voxel in ((0, 0, 0), (2, 3, 4), (2, 0, 1)):
            lps = image.TransformIndexToPhysicalPoint(voxel)
            ras = affine @ (*voxel, 1)
            np.testing.assert_allclose(ras[:3] * (-1, -1, 1), lps, atol=1e-4)
    catalogue = index([tmp_path])
    assert len(catalogue.studies) == 1
    assert catalogue.set_aside == ()
    assert len(catalogue.companions) == (name[-3:] in ("mhd", "hdr"))


def test_itk_time_series_are_stacks(tmp_path):
    sitk.WriteImage(itk_image(None, 4), str(tmp_path / "v.mha"))
    assert [len(s.frames) for s in stacks_of(tmp_path)] == [5, 5]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"v.raw", b"../../etc/passwd", Reason.UNSUPPORTED),
        (b"v.raw", b"/etc/passwd", Reason.UNSUPPORTED),
        (b"v.raw", b"LIST", Reason.UNSUPPORTED),
        (b"DimSize = 3 4 5", b"DimSize = 3 4", Reason.CORRUPT),
        (b"DimSize = 3 4 5", b"DimSize = 3 x 5", Reason.CORRUPT),
        (b"DimSize = 3 4 5", b"DimSize = 3 4 99999999999", Reason.TOO_LARGE),
        (b"DimSize = 3 4 5", b"DimSize = 3 4 50", Reason.TRUNCATED),
        (b"MET_SHORT", b"MET_WHAT", Reason.CORRUPT),
    ],
)
def test_hostile_meta_images_are_refused(tmp_path, old, new, reason):
    sitk.WriteImage(itk_image(np.eye(3)), str(tmp_path / "v.mhd"))
    content = (tmp_path / "v.mhd").read_bytes()
    assert old in content
    (tmp_path / "v.mhd").write_bytes(content.replace(old, new))
    found = {o.file.path: o.reason for o in index([tmp_path]).set_aside}
    assert found["v.mhd"] is reason


def test_frames_of_an_itk_volume_agree_with_the_same_nifti(tmp_path):
    image = itk_image(rotation(np.random.default_rng(5)))
    sitk.WriteImage(image, str(tmp_path / "v.mha"))
    sitk.WriteImage(image, str(tmp_path / "v.nii"))
    one, two = (np.reshape(outcome(tmp_path / n).volume.affine, (4, 4)) for n in ("v.mha", "v.nii"))
    np.testing.assert_allclose(one, two, atol=1e-4)
    assert cut_geometry(one, (3, 4, 5)).axes == cut_geometry(two, (3, 4, 5)).axes
