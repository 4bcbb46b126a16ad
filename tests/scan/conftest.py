from __future__ import annotations

from pathlib import Path

import pytest

from medscan import detector
from medscan.scan import ScanOptions


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
def options(root: Path, detector_file: Path, tmp_path: Path, key_file: Path) -> ScanOptions:
    """A scan of `root` in this process."""
    return ScanOptions(
        roots=(root,),
        out=tmp_path / "results.h5",
        detectors=((detector_file, detector.read(detector_file)),),
        named=True,
        device="cpu",
        batch_size=4,
        workers=0,
        hash_paths=False,
        key_file=key_file,
    )
