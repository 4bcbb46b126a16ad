"""What several rooms' tests stand on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from medscan import detector, worker
from medscan.options import ScanOptions
from tests import tiny
from tests.options import small_scan

# The same examples on every machine, however slow it is.
hypothesis.settings.register_profile("medscan", deadline=None, derandomize=True)
hypothesis.settings.load_profile("medscan")

# Tests run in a process a core: threads of their own would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Nor do they run with what the person who runs them has set.
os.environ["MEDSCAN_CONFIG"] = ""
os.environ.pop("MEDSCAN_KEY_FILE", None)
os.environ["MEDSCAN_FEATURE_CACHE"] = "0"

# Each worker process takes a second of processor time to begin: those that are idle wait.
worker.KEPT = 4

# Graphs for OpenVINO take seconds to make: only tests of it do.
os.environ["MEDSCAN_RUNTIME"] = "torch"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no process waits for another at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


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
    from medscan.fitting import FitOptions, fit

    options = FitOptions(
        method="mvfa",
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


@pytest.fixture(scope="session")
def graphs_of_session(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A cache folder of all processes that run tests: their detectors are the same."""
    folder = tmp_path_factory.getbasetemp()
    shared = (folder if worker_id == "master" else folder.parent) / "cache"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture
def kept_graphs(graphs_of_session: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder, so that each detector is converted for OpenVINO once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(graphs_of_session))
    return graphs_of_session / "medscan" / "graphs"


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


@pytest.fixture
def without_torch(environment: dict[str, str], detector_file: Path, backbone, kept_graphs: Path):
    """For scans that start in a second: by OpenVINO, for which the detector is converted here."""
    from medscan.runtimes import graph_of

    found = detector.read(detector_file)
    graph_of(found, lambda: found.load_method(detector_file, backbone))
    cache = str(kept_graphs.parents[1])
    return environment | {"MEDSCAN_RUNTIME": "", "XDG_CACHE_HOME": cache}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty archive."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The key of the pseudonyms, the same in every test."""
    (tmp_path / "key").write_text("5a" * 32)
    return tmp_path / "key"


@pytest.fixture
def serve_with(monkeypatch) -> Iterator[Callable[[Callable[..., None]], None]]:
    """Have workers that are started from now on run another loop."""

    def install(serve: Callable[..., None]) -> None:
        end_idle_workers()
        monkeypatch.setattr(worker, "serve", serve)

    yield install
    end_idle_workers()


def end_idle_workers() -> None:
    while worker._idle:
        worker._idle.pop().stop()


@pytest.fixture
def options(root: Path, detector_file: Path, tmp_path: Path) -> ScanOptions:
    """A scan of `root`."""
    return small_scan(root, detector_file, tmp_path)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch):
    """Ask a PACS that does not answer once more, and at once."""
    from medscan.pacs import patience

    monkeypatch.setattr(patience, "WAITS_S", (0.0,))
