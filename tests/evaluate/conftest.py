"""Labelled data with a test split, and a detector that was fitted on its other half."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medscan.evaluate.observe import Observations, Truth
from medscan.fitting import FitOptions, fit
from medscan.shots import LabelledSlice, read_items, stream_slices
from tests import tiny


@pytest.fixture(scope="session")
def options(backbone_folder):
    return FitOptions(
        shots=4,
        method="patchcore",
        backbone=f"local-dir:{backbone_folder}",
        organ="Brain",
        folds=2,
    )


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """Pictures wider than high, two of each of four patients a label and split; one has no mask."""
    folder = tiny.write_pictures(tmp_path_factory.mktemp("labelled"), 4, 2, tests=4)
    for path in [*folder.glob("*/*.png")]:
        with Image.open(path) as image:
            image.crop((0, 8, 48, 38)).save(path)
    (folder / "masks" / "abnormal_p7_1.png").unlink()
    return folder


@pytest.fixture(scope="session")
def fitted(data, options):
    return fit(data, options)


@pytest.fixture(scope="session")
def detector_path(fitted, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("fitted") / "bank.safetensors"
    fitted[0].save(path, fitted[1])
    return path


@pytest.fixture(scope="session")
def slices(data) -> list[LabelledSlice]:
    items = read_items(data, "test")
    return list(stream_slices(items, size=64, window="auto", plane=None))


@pytest.fixture
def handmade():
    """A few slices (label, mask or None, branch scores, maps) as if they had been seen."""

    def make(rows, size=4, studies=None):
        seen = Observations(size)
        for n, (label, mask, scores, maps) in enumerate(rows):
            bits = None if mask is None else np.packbits(np.asarray(mask, bool)).tobytes()
            study = studies[n] if studies else f"p{n}"
            truth = Truth(f"s{n}", study, study, label, bits, (0, 0, size, size))
            seen.add(truth, np.asarray(scores, np.float32), np.asarray(maps, np.float32))
        return seen

    return make
