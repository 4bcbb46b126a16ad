"""Maps of a detector with tiles lie where those of others do: a marker is followed to each output.

The square is 160 pixels wide, with 3 tiles of 64 along a side. The frames are oblong, their pixels
too, and the marker is nearer to a corner than to the middle.
"""

import nibabel
import numpy as np
import pytest
from PIL import Image

import medscan
from medscan.choices import Grid
from medscan.export import ExportJob, exporter
from medscan.reading import Sources
from medscan.report.colours import Scale
from medscan.report.placing import square_of
from medscan.results import Results
from tests import tiny
from tests.export.test_dicom import brightest

SHAPE, SPACING, STEP = (150, 90, 3), (1.2, 0.6), 4.0
"""Columns, rows and slices; millimetres between rows and columns, and between slices."""
MARKER, SIDE, SLICE = (117, 27), 12, 1
"""Column and row of its middle, its columns, and its slice."""
PATCH_MM = 16 * 150 * 0.6 / 160
NOISE = np.random.default_rng(0)


@pytest.fixture(scope="module")
def detector(backbone_folder, tmp_path_factory):
    """A memory of dark noise, in which a marker is what it has not seen."""
    folder = tmp_path_factory.mktemp("tiled")
    (folder / "data" / "normal").mkdir(parents=True)
    for number in range(4):
        noise = NOISE.integers(60, 90, (90, 150), np.uint8)
        Image.fromarray(noise).save(folder / "data" / "normal" / f"{number}.png")
    path = folder / "tiled.safetensors"
    name = f"local-dir:{backbone_folder}"
    asked = {"method": "patchcore", "backbone": name, "shots": 3, "tiles": 3, "folds": 2}
    medscan.fit(folder / "data", path, device="cpu", modality="MR", **asked)
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    volume = NOISE.integers(240, 360, SHAPE).astype(np.int16)
    x, y = MARKER
    half = SIDE // 2
    volume[x - half : x + half, y - half // 2 : y + half // 2, SLICE] = 1000
    tags = {"PixelSpacing": list(SPACING), "FrameOfReferenceUID": "1.2.9"}
    folder = tmp_path_factory.mktemp("archive")
    tiny.write_series(folder / "series", volume, step=STEP, **tags)
    return folder


@pytest.fixture(scope="module")
def results(detector, archive, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "results.h5"
    medscan.scan(archive, out, detector=detector, device="cpu", batch_size=2, workers=0)
    return out
