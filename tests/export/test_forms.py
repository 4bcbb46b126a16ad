"""Maps of NIfTI volumes carry both of its affines, and lie on it in whatever reads either."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from medscan.archive import index
from medscan.choices import Grid, Plane
from medscan.export.nifti import _header, affine_of
from medscan.export.upright import UprightGrid
from tests.export.make import Made, agree, exported, scanned

SHAPE, MARKER = (14, 10, 9), (9, 3, 6)
QFORM = np.array([[0, 2.4, 0, 3], [-2.0, 0, 0, 4], [0, 0, 3, 5], [0, 0, 0, 1]])
TURN = nib.eulerangles.euler2mat(0.3, 0.2, -0.1)
SFORM = np.eye(4)
SFORM[:3, :3], SFORM[:3, 3] = TURN * (2.0, 2.4, 3.0), (30, -20, 11)
SHEARED = SFORM.copy()
SHEARED[:3, 2] += (0, 1.2, 0)


def volume(folder, qform, sform, codes, unit="mm", size=1.0):
    """An archive of one volume with a bright voxel, and results of it."""
    folder.mkdir()
    data = np.full(SHAPE, 100, np.int16)
    data[MARKER] = 1000
    image = nib.Nifti1Image(data, None)
    to_unit = np.diag([size, size, size, 1])
    image.set_qform(to_unit @ qform, codes[0])
    image.set_sform(to_unit @ sform, codes[1])
    image.header.set_xyzt_units(unit)
    nib.save(image, folder / "v.nii")
    return scanned(Made(folder, np.zeros(3)))


def written(made, out, **options):
    files, left = exported("nifti", made.job(out, with_source=True, **options))
    assert left == []
    return {path.name.split("_", 2)[2]: path for path in files}


def brightest(path):
    data = nib.load(path).get_fdata()
    return np.unravel_index(data.argmax(), data.shape)


@pytest.mark.parametrize("codes", [(1, 2), (1, 0), (0, 2), (4, 1)])
@pytest.mark.parametrize(("unit", "size"), [("mm", 1), ("micron", 1e3), ("meter", 1e-3)])
def test_both_forms_and_codes_are_carried(tmp_path, codes, unit, size):
    made = volume(tmp_path / "a", QFORM, SFORM, codes, unit, size)
    files = written(made, tmp_path / "out")
    assert set(files) == {"map.nii.gz", "source.nii.gz"}
    for path in files.values():
        header = nib.load(path).header
        assert (header["qform_code"], header["sform_code"]) == codes
        assert header.get_xyzt_units()[0] == "mm"
        # ITK takes the sform where it is of the scanner, or the only one.
        to_scanner = codes[1] == 1 or not codes[0]
        agree(path, header.get_sform() if to_scanner else header.get_qform())
    at = brightest(files["source.nii.gz"])
    header = nib.load(files["source.nii.gz"]).header
    for code, stated, form in zip(
        codes, (QFORM, SFORM), (header.get_qform(), header.get_sform()), strict=True
    ):
        if code:
            np.testing.assert_allclose(
                (form @ (*at, 1))[:3], (stated @ (*MARKER, 1))[:3], atol=1e-3
            )
    theirs = SimpleITK.ReadImage(str(tmp_path / "a" / "v.nii"))
    ours = SimpleITK.ReadImage(str(files["map.nii.gz"]))
    np.testing.assert_allclose(
        ours.TransformIndexToPhysicalPoint([int(v) for v in at]),
        theirs.TransformIndexToPhysicalPoint(MARKER),
        atol=1e-3,
    )


def test_without_codes_there_are_none_in_the_map(tmp_path):
    made = volume(tmp_path / "a", QFORM, SFORM, (0, 0))
    for path in written(made, tmp_path / "out").values():
        header = nib.load(path).header
        assert (header["qform_code"], header["sform_code"]) == (0, 0)
        np.testing.assert_allclose(sorted(header.get_zooms()), (2, 2.4, 3), atol=1e-5)


def test_the_grid_of_the_model_lies_there_too(tmp_path):
    made = volume(tmp_path / "a", QFORM, SFORM, (1, 2))
    fine = nib.load(written(made, tmp_path / "a.out")["map.nii.gz"]).header
    coarse = nib.load(written(made, tmp_path / "b.out", grid=Grid.MODEL)["map.nii.gz"]).header
    (study,) = made.results.studies()
    to_pixel = np.eye(4)
    to_pixel[:2, [0, 1, 3]] = study.stacks[0].grid_to_pixel[0]
    np.testing.assert_allclose(coarse.get_qform(), fine.get_qform() @ to_pixel, atol=1e-3)
    np.testing.assert_allclose(coarse.get_sform(), fine.get_sform() @ to_pixel, atol=1e-3)


@pytest.mark.parametrize("plane", list(Plane))
def test_forms_are_those_of_the_frames_in_every_plane(tmp_path, plane):
    volume(tmp_path / "a", QFORM, SFORM, (1, 2))
    (study,) = index([tmp_path / "a"], plane).studies
    (stack,) = study.series[0].stacks
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.reshape(stack.sform, (4, 4))
    np.testing.assert_allclose(affine[:3, 3], stack.origin, atol=1e-4)
    last = affine @ (0, 0, len(stack.frames) - 1, 1)
    np.testing.assert_allclose(last[:3], stack.last, atol=1e-4)
    between_rows, between_columns = stack.pixel_spacing
    np.testing.assert_allclose(
        affine[:3, 0], np.multiply(stack.orientation[:3], between_columns), atol=1e-4
    )
    np.testing.assert_allclose(
        affine[:3, 1], np.multiply(stack.orientation[3:], between_rows), atol=1e-4
    )


@pytest.mark.parametrize("codes", [(0, 2), (1, 2)])
def test_a_sheared_volume_has_a_map_that_itk_opens(tmp_path, codes):
    made = volume(tmp_path / "a", QFORM, SHEARED, codes)
    files = written(made, tmp_path / "out")
    if codes[0]:  # ITK takes the qform, and does not know of the shear
        assert set(files) == {"map.nii.gz", "source.nii.gz"}
        SimpleITK.ReadImage(str(files["map.nii.gz"]))
        return
    assert set(files) == {f"{n}{u}.nii.gz" for n in ("map", "source") for u in ("", "_upright")}
    wanted = (SHEARED @ (*MARKER, 1))[:3] * (-1, -1, 1)
    for name in ("map_upright.nii.gz", "source_upright.nii.gz"):
        agree(files[name])
        image = SimpleITK.ReadImage(str(files[name]))
        data = SimpleITK.GetArrayFromImage(image).T.astype(float)
        assert np.isfinite(data).all()
        peak = np.argwhere(data > 0.6 * data.max()).mean(axis=0)
        found = image.TransformContinuousIndexToPhysicalPoint(peak.tolist())
        assert np.linalg.norm(np.subtract(found, wanted)) < (12 if "map" in name else 2.5)


def test_an_upright_grid_covers_every_slice_and_no_more():
    shape = (14, 10, 9)
    grid = UprightGrid.over(SHEARED, shape)
    steps = grid.affine[:3, :3]
    np.testing.assert_allclose(steps.T @ steps, np.diag(np.diag(steps.T @ steps)), atol=1e-9)
    values = np.arange(140, dtype=np.float32).reshape(10, 14)
    for layer in range(9):
        placed = grid.place(values, layer)
        assert placed.shape == (grid.rows, grid.columns)
        inverse = np.linalg.inv(grid.affine) @ SHEARED
        for x, y in ((0, 0), (13, 0), (0, 9), (13, 9)):
            at = inverse @ (x, y, layer, 1)
            assert -0.01 <= at[0] <= grid.columns - 0.99
            assert -0.01 <= at[1] <= grid.rows - 0.99
            assert at[2] == pytest.approx(layer)
    assert np.array_equal(UprightGrid.over(SFORM, shape).place(values, 3)[5, 5], values[5, 5])


def test_slices_that_lie_far_apart_have_no_upright_map(tmp_path):
    far = SFORM.copy()
    far[:3, 2] += 200 * far[:3, 0]
    files, left = exported(
        "nifti", volume(tmp_path / "a", QFORM, far, (0, 2)).job(tmp_path / "out")
    )
    assert [path.name.split("_", 2)[2] for path in files] == ["map.nii.gz"]
    assert "too far apart" in left[0].why


def test_results_without_forms_are_exported_as_before(tmp_path):
    made = volume(tmp_path / "a", QFORM, SFORM, (1, 2))
    (study,) = made.results.studies()
    (stack,) = study.stacks
    for name in ("qform", "sform", "form_codes"):
        del stack.info[name]
    header = _header(stack, Grid.SOURCE, (3, 4, 5), "anomaly map")
    assert (header["qform_code"], header["sform_code"]) == (1, 1)
    np.testing.assert_allclose(header.get_sform(), affine_of(stack), atol=1e-4)
