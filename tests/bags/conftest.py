"""An archive of head studies, half of them with a lesion on one slice, and a table of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medscan.archive import Pseudonyms, index
from tests import tiny

SLICES = 5
LESION = 3
"""Slice of an abnormal study that shows the lesion, from 0."""


def uid(number: int) -> str:
    return f"1.2.3.{number}"


def write_study(root: Path, number: int, *, lesion: bool, **tags: str) -> str:
    """A study of a series; returns its UID."""
    rng = np.random.default_rng(number)
    planes = [tiny.phantom(rng, lesion=lesion and k == LESION)[0] for k in range(SLICES)]
    volume = (np.stack(planes, -1) * 1000).astype(np.int16)
    facts = {"PatientID": f"P{number}", "AccessionNumber": f"00{number}"} | tags
    tiny.write_series(root / f"s{number}", volume, study=uid(number), **facts)
    return uid(number)


def write_labels(path: Path, rows: str, head: str = "StudyInstanceUID,label") -> Path:
    path.write_text(f"{head}\n{rows}")
    return path


@pytest.fixture(scope="package")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies 1 to 4 are normal, 5 to 8 abnormal."""
    root = tmp_path_factory.mktemp("archive")
    for number in range(1, 9):
        write_study(root, number, lesion=number > 4)
    return root


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    rows = "".join(f"{uid(n)},{'abnormal' if n > 4 else 'normal'}\n" for n in range(1, 9))
    return write_labels(tmp_path / "labels.csv", rows)


@pytest.fixture(scope="package")
def catalogue(archive: Path):
    return index([archive], pseudonyms=Pseudonyms(b"", identify=True))
