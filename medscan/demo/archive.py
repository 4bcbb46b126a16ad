"""An archive for every machine: a phantom, and test files of installed packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from medscan.demo.phantom import SHAPE, SPACING, Phantom
from medscan.files import replacing


def gather(folder: Path, phantom: Phantom) -> tuple[Path, ...]:
    """Write a phantom below a folder, and find test files to scan with it.

    Parameters
    ----------
    folder : Path
        An existing folder.
    phantom : Phantom

    Returns
    -------
    tuple of Path
        What to scan: the folder of the phantom, pydicom's test files, a volume of nibabel's.
    """
    root = folder / "archive"
    series = root / "phantom"
    series.mkdir(parents=True, exist_ok=True)
    write_series(phantom, series, "medscan demo")
    test_files = (
        _package("pydicom") / "data" / "test_files",
        _package("nibabel") / "tests" / "data" / "example4d.nii.gz",
    )
    return (root, *(path for path in test_files if path.exists()))


def write_series(phantom: Phantom, folder: Path, name: str) -> None:
    """Write a phantom as an axial MR series, one file per slice; existing files are kept.

    Parameters
    ----------
    folder : Path
        An existing folder.
    name : str
        UIDs are derived from it, so that the same name always gives the same study.
    """
    for index in range(SHAPE[2]):
        path = folder / f"{index + 1:03d}.dcm"
        if path.exists():
            continue
        with replacing(path) as aside:
            _slice(phantom, index, name).save_as(aside, enforce_file_format=True)


def _slice(phantom: Phantom, index: int, name: str) -> FileDataset:
    """Make a slice an MR Image (DICOM PS3.3 A.4)."""
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
    _set_geometry(data, index)
    _set_pixels(data, phantom, index)
    return data


def _set_geometry(data: FileDataset, index: int) -> None:
    """Fill the Image Plane module: x to the left, y to the back, slices upwards."""
    half_x, half_y, _ = ((n - 1) / 2 * step for n, step in zip(SHAPE, SPACING, strict=True))
    level = (index - (SHAPE[2] - 1) / 2) * SPACING[2]
    data.ImagePositionPatient = [-half_x, -half_y, level]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [SPACING[1], SPACING[0]]
    data.SliceThickness = data.SpacingBetweenSlices = SPACING[2]


def _set_pixels(data: FileDataset, phantom: Phantom, index: int) -> None:
    rows = np.ascontiguousarray(phantom.voxels[:, :, index].T, "<u2")
    data.Rows, data.Columns = rows.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelData = rows.tobytes()


def _package(name: str) -> Path:
    """Folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin:
        raise ModuleNotFoundError(name)
    return Path(spec.origin).parent
