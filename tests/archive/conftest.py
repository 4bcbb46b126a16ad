from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medscan.archive import ArchiveFile, index, read_header


def as_file(path: Path) -> ArchiveFile:
    status = path.lstat()
    return ArchiveFile(path.name, path.parent, status.st_size, status.st_mtime_ns)


def dataset(**tags: Any) -> Dataset:
    """A small CT slice; tags set to None are left out."""
    values = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": "1.2.3.4.5",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "Modality": "CT",
        "PatientID": "P1",
        "Rows": 4,
        "Columns": 6,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "InstanceNumber": 1,
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [0, 0, 0],
        "PixelSpacing": [0.5, 0.7],
        "PixelData": bytes(48),
    } | tags
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword, value in values.items():
        if value is not None:
            setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", CTImageStorage)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2")
    return ds


def write(path: Path, added: Dataset | None = None, **tags: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds = dataset(**tags)
    ds.update(added or {})
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def series(tmp_path):
    """Writes slices: `series(positions, **tags)`, one file each, numbered against the order."""

    def make(positions, folder="a", **tags):
        for n, z in enumerate(positions):
            number = tags.get("InstanceNumber", len(positions) - n)
            write(
                tmp_path / folder / f"I{n}",
                **(
                    {
                        "SOPInstanceUID": f"1.2.3.4.{folder.encode().hex()[:6]}.{n + 1}",
                        "ImagePositionPatient": [0, 0, z],
                    }
                    | tags
                    | {"InstanceNumber": number}
                ),
            )
        return tmp_path

    return make


def stacks_of(root: Path, **options: Any):
    catalogue = index([root], **options)
    return [k for s in catalogue.studies for e in s.series for k in e.stacks]


def outcome(path: Path):
    return read_header(as_file(path))


class Cache(dict):
    """Of headers; and of the catalogue, if it is told to."""

    def __init__(self, *, whole=False):
        super().__init__()
        self.whole, self.last = whole, ("", None)

    def get(self, files):
        return [super(Cache, self).get(file) for file in files]

    def put(self, headers):
        self.update(headers)

    def recall(self, name):
        return self.last[1] if self.whole and self.last[0] == name else None

    def remember(self, name, catalogue):
        self.last = name, catalogue


def rotation(rng: np.random.Generator) -> np.ndarray:
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return turned


is_root = os.geteuid() == 0
