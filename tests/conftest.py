"""What several rooms' tests stand on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import pytest

from tests import tiny

# The same examples on every machine, however slow it is.
hypothesis.settings.register_profile("medscan", deadline=None, derandomize=True)
hypothesis.settings.load_profile("medscan")

# Tests run in a process a core: threads of their own would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_backbone(tmp_path_factory.mktemp("tiny-clip"))


@pytest.fixture(scope="session")
def backbone(backbone_folder: Path):
    from medscan import clip

    return clip.load(f"local-dir:{backbone_folder}")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def detector_file(
    tmp_path_factory: pytest.TempPathFactory, backbone_folder: Path, pictures: Path
) -> Path:
    """An MVFA detector for axial brain FLAIR on the tiny backbone."""
    from medscan.detector import Domain
    from medscan.fit import FitOptions, fit

    options = FitOptions(
        shots=6,
        backbone=f"local-dir:{backbone_folder}",
        organ="Brain",
        domain=Domain("MR", "BRAIN", "FLAIR", "axial"),
        folds=2,
        settings={"epochs": 3, "bank_rows": 32},
    )
    detector, method = fit(pictures, options)
    path = tmp_path_factory.mktemp("detector") / "tiny-flair.safetensors"
    detector.save(path, method)
    return path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home of its own and no network, for commands run as processes."""
    return os.environ | {
        "XDG_DATA_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "COLUMNS": "100",
    }
