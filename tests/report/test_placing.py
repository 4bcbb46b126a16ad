"""The place in the patient that the viewer tells is that of the header, for any orientation."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medscan import archive
from medscan.choices import Plane
from medscan.imaging import Letterbox, read_planes
from medscan.report.placing import placing
from tests import tiny
from tests.report import archived, make

SIGNED = [
    np.eye(3)[:, list(order)] * signs
    for order in permutations(range(3))
    for signs in product((1.0, -1.0), repeat=3)
]
"""The 48 ways in which the axes of a file may run along those of the patient, as columns."""
OBLIQUE = [
    Rotation.from_euler("xyz", a, degrees=True).as_matrix() for a in ((20, 35, 10), (8, 0, 40))
]
SPACING = np.array([0.8, 1.3, 2.5])
MARKER = (4, 2, 1)
"""Column, row and layer of the voxel that is bright."""


def axes_of(turn):
    """An affine, (column, row, layer) to LPS millimetres."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * SPACING, (-31.5, 12.25, 7.0)
    return affine


def write_dicom(folder, affine):
    volume = np.zeros((9, 7, 3), np.int16)
    volume[MARKER] = 900
    for layer in range(volume.shape[2]):
        at = affine @ (0, 0, layer, 1)
        tags = {
            "ImageOrientationPatient": (affine[:3, :2] / SPACING[:2]).T.round(8).ravel().tolist(),
            "ImagePositionPatient": at[:3].round(8).tolist(),
            "PixelSpacing": [SPACING[1], SPACING[0]],
            "InstanceNumber": layer + 1,
            "SeriesInstanceUID": "1.2.3",
        }
        name = folder / f"{layer}"
        tiny.write_series(name, volume[:, :, layer : layer + 1], study="1.2", **tags)


def write_nifti(folder, affine):
    volume = np.zeros((9, 7, 5), np.int16)
    volume[MARKER] = 900
    nib.save(nib.Nifti1Image(volume, np.diag([-1, -1, 1, 1]) @ affine), folder / "v.nii")


def marked(stack):
    """Layer, row and column of the brightest pixel as displayed, and the size of a slice."""
    planes = list(read_planes(stack, stack.frames, 1 << 20))
    shown = np.stack([Letterbox.of(stack, 96).turned(plane.pixels) for plane in planes])
    return np.unravel_index(shown.argmax(), shown.shape), shown.shape[1:]


@pytest.mark.parametrize("write", [write_dicom, write_nifti])
@pytest.mark.parametrize("turns", [SIGNED, OBLIQUE], ids=["48", "oblique"])
def test_the_marker_lies_where_the_header_says(tmp_path, write, turns):
    for number, turn in enumerate(turns):
        folder, affine = tmp_path / f"{number}", axes_of(turn)
        folder.mkdir()
        write(folder, affine)
        ((series,),) = [
            study.series for study in archive.index([folder], plane=Plane.AXIAL).studies
        ]
        (stack,) = series.stacks
        result = archived.result_of(series, stack, size=96, grid=12)
        geometry = placing(result, range(len(stack.frames)))
        letterbox = Letterbox.of(stack, 96)
        drawn = np.array([*letterbox.offset[::-1], *letterbox.target[::-1]]) / 96
        np.testing.assert_allclose(geometry["box"], drawn, atol=1e-5, err_msg="as maps have it")
        (layer, row, column), (rows, columns) = marked(stack)
        left, top, width, height = geometry["box"]
        u, v = left + (column + 0.5) / columns * width, top + (row + 0.5) / rows * height
        told = np.array(geometry["origins"][layer])
        told += u * np.array(geometry["across"]) + v * np.array(geometry["down"])
        np.testing.assert_allclose(told, (affine @ (*MARKER, 1))[:3], atol=2e-3, err_msg=str(turn))


def test_nothing_is_claimed_of_what_is_not_known():
    lost = placing(make.stack(n=3, orientation=[]), [0, 2])
    assert lost["origins"] is lost["across"] is None
    assert lost["side"] == pytest.approx(192)
    assert placing(make.stack(n=3, pixel_spacing=[]), [0])["side"] is None
    uneven = make.stack(n=3)
    uneven.position_mm[1] = np.nan
    told = placing(uneven, [0, 1, 2])
    assert told["origins"][1] is None
    assert told["origins"][2][2] == pytest.approx(-20 + 6)
