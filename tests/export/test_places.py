"""One voxel, put in by its patient coordinates, is followed from the file to whatever is shown."""

import itertools

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medscan.archive import Pseudonyms, index
from medscan.choices import Plane
from medscan.detector import Detector, Domain
from medscan.export import ExportJob, exporter
from medscan.imaging import Letterbox, Slice, Window, render
from medscan.normals import Calibration
from medscan.report.colours import Scale
from medscan.results import Results, Work, publish, write_part
from medscan.results.maps import on_frame
from medscan.scoring.stacks import StackBuilder, study_result
from tests.export.make import agree
from tests.imaging.make import MAX_FILE_BYTES, header, write_dicom
from tests.report import make

SHAPE, SPACING, MARKER = (11, 9, 8), (2.0, 2.4, 3.1), (8, 2, 5)
SIZE, PATCH = 48, 4
GRID = SIZE // PATCH
LPS = np.array([-1.0, -1.0, 1.0])
ORIENTATIONS = [
    np.column_stack([axes, signs]).astype(float)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
DETECTOR = Detector(
    "d", "zero", "clean", "", True, {}, "b", "h", Domain(), "auto",
    Calibration((), 0.5, 0.05, True, 0, 1),
)  # fmt: skip


def phantom(angles=(0.0, 0.0, 0.0)):
    """A RAS volume with a marker, and the place of that in millimetres, LPS."""
    data = np.full(SHAPE, 100, np.int16)
    data[MARKER] = 1000
    affine = np.eye(4)
    affine[:3, :3] = nibabel.eulerangles.euler2mat(*angles) * SPACING
    affine[:3, 3] = (-7, 21, 40)
    image = nibabel.Nifti1Image(data, affine)
    return image, (affine @ (*MARKER, 1))[:3] * LPS


def dicom_of(folder, image, backwards=False):
    """The image as a series of frames along its third axis."""
    folder.mkdir()
    data, affine = np.asarray(image.dataobj), image.affine
    steps = affine[:3, :3] * LPS[:, None]
    lengths = np.linalg.norm(steps, axis=0)
    turn = (steps / lengths)[:, :2].T.ravel()
    for k in range(data.shape[2]):
        place = (affine @ (0, 0, k, 1))[:3] * LPS
        ds = header(
            np.ascontiguousarray(data[..., k].T),
            SOPClassUID="1.2.840.10008.5.1.4.1.1.4",
            SOPInstanceUID=f"1.2.3.{k + 1}",
            StudyInstanceUID="1.2",
            SeriesInstanceUID="1.2.3",
            Modality="MR",
            InstanceNumber=data.shape[2] - k if backwards else k,
            ImageOrientationPatient=[f"{v:.9f}" for v in turn],
            ImagePositionPatient=[f"{v:.6f}" for v in place],
            PixelSpacing=[f"{lengths[1]:.6f}", f"{lengths[0]:.6f}"],
        )
        write_dicom(folder / f"{k}.dcm", ds)
    return folder


def nifti_of(folder, image):
    folder.mkdir()
    image.to_filename(folder / "v.nii")
    return folder


def only(folder, plane=None):
    (study,) = index([folder], plane).studies
    (series,) = study.series
    (stack,) = series.stacks
    return study, series, stack


def images(stack):
    shown = render(stack, stack.frames, SIZE, Window(0, 1000), MAX_FILE_BYTES)
    return np.stack([s.image[0] for s in shown])


def lit(image):
    """Centre of what is bright, as (x, y)."""
    bright = np.argwhere(image > (image.max() + 0.1) / 2)
    return bright.mean(axis=0)[::-1]


def expected_place(stack, lps):
    """Slice number, and place in the square, that the stack's own geometry gives a point."""
    row, column = np.reshape(stack.orientation, (2, 3))
    along = np.array([f.position_mm for f in stack.frames])
    k = int(np.abs(along - np.cross(row, column) @ lps).argmin())
    share = (along[k] - along[0]) / (along[-1] - along[0])
    away = lps - np.array(stack.origin) - share * np.subtract(stack.last, stack.origin)
    pixel = away @ row / stack.pixel_spacing[1], away @ column / stack.pixel_spacing[0]
    return k, Letterbox.of(stack, SIZE).to_square @ (*pixel, 1)


def fake_result(folder, study, series, stack, shown):
    """Results of a detector that sees what is brighter than the rest."""
    builder = StackBuilder(series, stack, DETECTOR, SIZE, GRID, PATCH, "kept")
    cells = shown.reshape(len(shown), GRID, PATCH, GRID, PATCH).max(axis=(2, 4))
    for k, (drawn, cell) in enumerate(zip(shown, cells, strict=True)):
        builder.keep_image(k, Slice(drawn[None], background=False))
        builder.add_score(k, float(cell.max()), np.clip(cell - 0.3, 0, 1).astype(np.float16))
    pseudonyms = Pseudonyms(b"key")
    result = study_result(
        study, [builder.result(0, pseudonyms)], [], pseudonyms, Work("", "", "", "", [])
    )
    write_part(folder / "p.part.h5", result)
    publish(folder / "results.h5", make.run(), [folder / "p.part.h5"])
    return Results(folder / "results.h5")


def check_everything_lights(folder, study, series, stack, lps):
    """Marker in the slice, the map on the frame, the exported NIfTI and the report's overlay."""
    shown = images(stack)
    k, place = expected_place(stack, lps)
    assert shown.reshape(len(shown), -1).max(axis=1).argmax() == k
    assert np.abs(lit(shown[k]) - place).max() <= 1.0
    results = fake_result(folder, study, series, stack, shown)
    (found,) = (s for one in results.studies() for s in one.stacks)
    patch_mm = PATCH * max(stack.rows * stack.pixel_spacing[0],
                           stack.columns * stack.pixel_spacing[1]) / SIZE  # fmt: skip
    path, *upright = exporter("nifti")(ExportJob([results], folder / "out"))
    exported = nibabel.load(path)
    data = exported.get_fdata()
    hot = np.argwhere(data > 0.7 * data.max()).mean(axis=0)
    away = nibabel.affines.apply_affine(exported.affine, hot) * LPS - lps
    assert np.linalg.norm(away) < patch_mm + stack.slice_spacing / 4
    assert len(upright) == ("tilted" in stack.notes)
    agree(*upright or (path,))
    opens = SimpleITK.ReadImage(str(*upright or (path,)))
    shown_by_itk = SimpleITK.GetArrayFromImage(opens).T
    hot = np.argwhere(shown_by_itk > 0.7 * shown_by_itk.max()).mean(axis=0)
    away = opens.TransformContinuousIndexToPhysicalPoint(hot.tolist()) - lps
    assert np.linalg.norm(away) < patch_mm + stack.slice_spacing / 4
    on_pixels = on_frame(found.heatmap[k], found.grid_to_pixel[k], stack.rows, stack.columns)
    np.testing.assert_allclose(data[..., k].T, on_pixels, atol=1e-3)
    assert found.thumbnail_index[0] == k
    plain = found.thumbnail[0]
    overlay = Scale(0.2, 0.3).overlay(plain, found.heatmap[k])
    painted = np.abs(overlay.astype(int) - plain).sum(axis=2)
    assert np.abs(lit(painted / painted.max()) - place).max() <= PATCH
    return shown


def check_both(folder, image, lps, orientation, backwards=False):
    """DICOM in this orientation, and NIfTI in it, show and say the same."""
    folder.mkdir()
    turned = image.as_reoriented(orientation)
    one = only(dicom_of(folder / "d", turned, backwards))
    shown = check_everything_lights(folder / "d", *one, lps)
    two = only(nifti_of(folder / "n", turned), one[2].plane)
    other = check_everything_lights(folder / "n", *two, lps)
    away = np.dot(np.cross(*np.reshape(one[2].orientation, (2, 3))),
                  np.cross(*np.reshape(two[2].orientation, (2, 3))))  # fmt: skip
    assert np.array_equal(shown, other[:: 1 if away > 0 else -1])
    return shown, one[2]


@pytest.mark.parametrize("part", range(6))
def test_a_marker_is_lit_in_all_48_orientations(tmp_path, part):
    image, lps = phantom()
    seen = {}
    for n, orientation in enumerate(ORIENTATIONS[8 * part : 8 * part + 8]):
        shown, stack = check_both(tmp_path / str(n), image, lps, orientation, bool(n % 2))
        plane = seen.setdefault(stack.plane, shown)
        assert any(np.array_equal(plane, shown[::d]) for d in (1, -1))
    assert len(seen) == 1  # the third axis alone decides the plane


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    angles=st.tuples(*[st.floats(-0.35, 0.35)] * 3),
    backwards=st.booleans(),
)
def test_a_marker_is_lit_in_oblique_volumes(tmp_path_factory, orientation, angles, backwards):
    image, lps = phantom(angles)
    folder = tmp_path_factory.mktemp("oblique") / "v"
    check_both(folder, image, lps, orientation, backwards)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_marker_is_lit_in_a_tilted_stack(tmp_path, backwards):
    image, _ = phantom()
    affine = image.affine.copy()
    affine[:3, 2] += (0, 1.2, 0)  # the gantry leans back by 21 degrees
    lps = (affine @ (*MARKER, 1))[:3] * LPS
    tilted = nibabel.Nifti1Image(np.asarray(image.dataobj), affine)
    _, stack = check_both(tmp_path / "t", tilted, lps, ORIENTATIONS[0], backwards)
    assert stack.notes == ("tilted",)
    assert stack.plane is Plane.AXIAL


def test_a_tilt_is_in_the_sform_alone(tmp_path):
    image, _ = phantom()
    affine = image.affine.copy()
    affine[:3, 2] += (0, 1.2, 0)
    study, series, stack = only(
        dicom_of(tmp_path / "d", nibabel.Nifti1Image(image.dataobj, affine))
    )
    results = fake_result(tmp_path / "d", study, series, stack, images(stack))
    path, upright = exporter("nifti")(ExportJob([results], tmp_path / "out"))
    exported = nibabel.load(path)
    np.testing.assert_allclose(exported.affine[:, 2], affine[:, 2], atol=1e-4)
    assert (exported.header["sform_code"], exported.header["qform_code"]) == (1, 0)
    with pytest.raises(RuntimeError, match="orthonormal"):
        SimpleITK.ReadImage(str(path))
    header = nibabel.load(upright).header
    assert (header["sform_code"], header["qform_code"]) == (1, 1)
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)
    assert index([tmp_path / "out"]).studies == ()
