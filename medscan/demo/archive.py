"""An archive that is there on every machine: a phantom, and what lies in the readers' wheels."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from medscan.demo.phantom import SHAPE, SPACING, Phantom
from medscan.files import replacing


def gather(folder: Path, phantom: Phantom) -> tuple[Path, ...]:
    """Write a phantom below a folder, and find the rest.

    Parameters
    ----------
    folder : Path
        Is there already.
    phantom : Phantom

    Returns
    -------
    tuple of Path
        What to scan: the folder with the phantom's, pydicom's test files, nibabel's volume.
    """
    drawn = folder / "archive"
    series = drawn / "phantom"
    series.mkdir(parents=True, exist_ok=True)
    write_series(phantom, series, "medscan demo")
    wheels = (
        _package("pydicom") / "data" / "test_files",
        _package("nibabel") / "tests" / "data" / "example4d.nii.gz",
    )
    return (drawn, *(path for path in wheels if path.exists()))


def write_series(phantom: Phantom, folder: Path, name: str) -> None:
    """Write a phantom as an axial MR series, a file a slice; a file that is there stays as it is.

    Parameters
    ----------
    folder : Path
        Is there already.
    name : str
        The UIDs are made from it: the same name, the same study.
    """
    for index in range(SHAPE[2]):
        path = folder / f"{index + 1:03d}.dcm"
        if path.exists():
            continue
        with replacing(path) as aside:
            _slice(phantom, index, name).save_as(aside, enforce_file_format=True)


def _slice(phantom: Phantom, index: int, name: str) -> FileDataset:
    """A slice as an MR Image (DICOM PS3.3 A.4)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[name, str(index)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta)
    data.SOPClassUID = MRImageStorage
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = generate_uid(entropy_srcs=[name, "study"])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[name, "series"])
    data.FrameOfReferenceUID = generate_uid(entropy_srcs=[name, "frame of reference"])
    data.PatientID, data.PatientName = "PHANTOM", "Phantom"
    data.Modality, data.BodyPartExamined = "MR", "BRAIN"
    data.SeriesDescription = "Ax FLAIR, generated"
    data.SeriesNumber, data.InstanceNumber = 1, index + 1
    _locate(data, index)
    _fill(data, phantom, index)
    return data


def _locate(data: FileDataset, index: int) -> None:
    """Image Plane module: x to the left, y to the back, slices upwards."""
    wide, high, _ = ((n - 1) / 2 * step for n, step in zip(SHAPE, SPACING, strict=True))
    level = (index - (SHAPE[2] - 1) / 2) * SPACING[2]
    data.ImagePositionPatient = [-wide, -high, level]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [SPACING[1], SPACING[0]]
    data.SliceThickness = data.SpacingBetweenSlices = SPACING[2]


def _fill(data: FileDataset, phantom: Phantom, index: int) -> None:
    rows = np.ascontiguousarray(phantom.voxels[:, :, index].T, "<u2")
    data.Rows, data.Columns = rows.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelData = rows.tobytes()


def _package(name: str) -> Path:
    """Where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin:
        raise ModuleNotFoundError(name)
    return Path(spec.origin).parent
