"""Exported objects as dcmqi reads them: the same voxels at the same places."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from medscan.choices import SegType
from medscan.results.maps import on_frame
from tests.export import make
from tests.export.make import exported, multiframe, scanned, single

SOURCES = {plane: single for plane in make.PLANES} | {"multi-frame": multiframe}
TOOLS = {
    name: shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent)
    for name in ("paramap2itkimage", "segimage2itkimage", "tid1500reader")
}

pytestmark = pytest.mark.skipif(None in TOOLS.values(), reason="needs dcmqi")


@pytest.fixture(scope="module", params=sorted(SOURCES))
def made(request, tmp_path_factory):
    """Results of a source in each plane, and of a multi-frame one."""
    folder = tmp_path_factory.mktemp("source") / request.param
    plane = {} if request.param == "multi-frame" else {"plane": request.param}
    return scanned(SOURCES[request.param](folder, **plane))


def dcmqi(tool, *arguments):
    done = subprocess.run([TOOLS[tool], *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def read(tool, path, folder) -> SimpleITK.Image:
    """The one volume that a tool makes of an object."""
    folder.mkdir()
    dcmqi(tool, "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nrrd")
    (volume,) = folder.glob("*.nrrd")
    return SimpleITK.ReadImage(str(volume))


def equal(image, made, values, tolerance=0.0):
    """Whether an image holds the values (slices, rows, columns), each slice where its source is."""
    plane = "oblique" if made.folder.name == "multi-frame" else made.folder.name
    row, column, corners = make.geometry(plane)
    array = SimpleITK.GetArrayFromImage(image)
    layers = [image.TransformIndexToPhysicalPoint((0, 0, k)) for k in range(len(array))]
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3))[:, 0], row, atol=1e-5)
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3))[:, 1], column, atol=1e-5)
    np.testing.assert_allclose(image.GetSpacing()[:2], make.SPACING[::-1], rtol=1e-6)
    seen = []
    for corner, wanted in zip(corners, values, strict=True):
        away = np.linalg.norm(np.subtract(layers, corner), axis=1)
        if away.min() < 1e-3:
            seen.append(away.argmin())
            np.testing.assert_allclose(array[seen[-1]], wanted, rtol=0, atol=tolerance)
        else:
            assert not wanted.any()
    assert sorted(seen) == list(range(len(array)))


def scores(made) -> np.ndarray:
    """Patch scores on the pixels of the source, (slices, rows, columns), as `make` orders them."""
    (stack,) = next(made.results.studies()).stacks
    size = int(stack.info["rows"]), int(stack.info["columns"])
    maps = zip(stack.heatmap, stack.grid_to_pixel, strict=True)
    volume = np.stack([on_frame(heatmap, to_pixel, *size) for heatmap, to_pixel in maps])
    return volume if volume[make.SLICE].any() else volume[::-1]


def test_dcmqi_reads_a_parametric_map(made, tmp_path):
    (path,), _ = exported("dicom-pm", made.job(tmp_path))
    equal(read("paramap2itkimage", path, tmp_path / "q"), made, scores(made))


@pytest.mark.parametrize("kind", SegType)
def test_dcmqi_reads_a_segmentation(made, tmp_path, kind):
    job = made.job(tmp_path, seg_type=kind)
    (path,), _ = exported("dicom-seg", job)
    (stack,) = next(made.results.studies()).stacks
    scale = job.scale(stack)
    wanted = scores(made) >= scale.middle
    if kind is SegType.FRACTIONAL:
        wanted = np.rint(scale.position(scores(made)) * 255)
    equal(read("segimage2itkimage", path, tmp_path / "q"), made, wanted)


def test_dcmqi_reads_a_structured_report(made, tmp_path):
    (path,), _ = exported("dicom-sr", made.job(tmp_path))
    dcmqi("tid1500reader", "--inputDICOM", path, "--outputMetadata", tmp_path / "report.json")
    groups = json.loads((tmp_path / "report.json").read_text())["Measurements"]
    (stack,) = next(made.results.studies()).stacks
    values = [
        {
            item["quantity"]["CodeMeaning"]: float(item["value"])
            for item in group["measurementItems"]
        }
        for group in groups
    ]
    assert values[0]["Score (attribute)"] == pytest.approx(stack.score, abs=1e-6)
    assert values[1]["Score (attribute)"] == pytest.approx(stack.slice_score[4], abs=1e-6)
    assert {group["Finding"]["CodeMeaning"] for group in groups} == {"Abnormality"}
