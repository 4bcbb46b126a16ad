"""Evaluate and scan give a slice the same score, to the last bit: they draw it by the same code."""

import io

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from tests import tiny
from tests.agreement import evaluated, for_anything, scanned


def edit(folder, change):
    """Change every file of a series; it is given the file's number."""
    for number, path in enumerate(sorted(folder.iterdir())):
        data = pydicom.dcmread(path)
        change(data, number)
        data.save_as(path)


def hounsfield(data, number):
    data.Modality, data.BodyPartExamined = "CT", "ABDOMEN"
    data.RescaleSlope, data.RescaleIntercept = 1, -200
    data.WindowCenter, data.WindowWidth = 40 + 20 * number, 300 + 40 * number


def windowed(data, number):
    """A series of projections, each with a window of its own."""
    data.Modality, data.PatientID = "DX", "P3"
    data.WindowCenter, data.WindowWidth = 300 + 60 * number, 500 + 90 * number


def compressed(data, number):
    """JPEG of 8 bits."""
    data.PatientID, stream = "P4", io.BytesIO()
    grey = np.clip(data.pixel_array / 4, 0, 255).astype(np.uint8)
    Image.fromarray(grey).save(stream, "JPEG")
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.PixelData = encapsulate([stream.getvalue()])


def write_frames(path, volume):
    """One file of several frames."""
    folder = path.parent / "aside"
    tiny.write_series(folder, volume[:, :, :1], PatientID="P5")
    (only,) = folder.iterdir()
    data = pydicom.dcmread(only)
    data.NumberOfFrames = volume.shape[2]
    data.PixelData = np.ascontiguousarray(volume.transpose(2, 1, 0)).astype("<i2").tobytes()
    data.save_as(path)
    only.unlink()
    folder.rmdir()


def write_nrrd(path, volume):
    head = [
        "NRRD0004",
        "type: short",
        "dimension: 3",
        f"sizes: {' '.join(map(str, volume.shape))}",
        "space: left-posterior-superior",
        "space directions: (1,0,0) (0,1,0) (0,0,2)",
        "space origin: (0,0,0)",
        "endian: little",
        "encoding: raw",
    ]
    path.write_bytes("\n".join([*head, "", ""]).encode() + volume.astype("<i2").tobytes("F"))


def graded(seed, slices=6):
    """A head whose slices differ in brightness, so that a slice's own window is another one."""
    volume = tiny.head_volume(seed, slices)
    return (volume * np.linspace(0.3, 1.7, slices)).astype(np.int16)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    root = tmp_path_factory.mktemp("archive")
    tiny.write_series(root / "mr", graded(1))
    tiny.write_series(root / "ct", graded(2, 7), PatientID="P2")
    edit(root / "ct", hounsfield)
    for number in (2, 4):  # missing slices
        (root / "ct" / f"{number:04d}").unlink()
    tiny.write_series(root / "dx", graded(3), PatientID="P3")
    edit(root / "dx", windowed)
    tiny.write_series(root / "jpeg", graded(4), PatientID="P4")
    edit(root / "jpeg", compressed)
    (root / "ct" / "again").write_bytes((root / "ct" / "0000").read_bytes())
    write_frames(root / "frames.dcm", graded(5))
    turn = np.array([[-0.9, 0.3, 0, 4], [0.2, 0.9, 0.1, 5], [0, -0.1, 2, -7], [0, 0, 0, 1]])
    tiny.write_nifti(root / "oblique.nii.gz", graded(6), turn)
    tiny.write_nifti(root / "flipped.nii", graded(7), np.diag([-1, 1, -2, 1]))
    nib.save(nib.Nifti1Image(np.stack([graded(8), graded(9)], -1), np.eye(4)), root / "time.nii")
    tiny.write_nifti(root / "stated.nii", graded(10) - 200)
    (root / "stated.json").write_text('{"Modality": "CT"}')
    write_nrrd(root / "volume.nrrd", graded(11))
    plane = graded(12)[:, :, 3].astype(np.uint16)
    Image.fromarray((plane >> 2).astype(np.uint8)).save(root / "grey.png")
    Image.fromarray(plane).save(root / "deep.png")
    colour = np.stack([plane >> 2, plane >> 3, plane >> 4], -1).astype(np.uint8)
    Image.fromarray(colour).save(root / "colour.png")
    Image.fromarray((plane >> 2).astype(np.uint8)).save(root / "grey.jpg", quality=80)
    return root


def images(root):
    files = (
        path.relative_to(root).as_posix() for path in sorted(root.rglob("*")) if path.is_file()
    )
    return [file for file in files if not file.endswith(".json")]


@pytest.mark.parametrize(("plane", "window"), [("", "auto"), ("sagittal", "voi")])
def test_scores_agree_to_the_last_bit(
    archive, detector_file, backbone, options, tmp_path, plane, window
):
    path = for_anything(detector_file, backbone, tmp_path / "any.safetensors", plane, window)
    found = evaluated(path, archive, images(archive), archive.parent / f"{tmp_path.name}.csv")
    reference, _ = scanned(path, archive, options)
    both = found.keys() & reference.keys()
    assert {name: found[name] for name in both} == {name: reference[name] for name in both}
    volumes = {"oblique.nii.gz", "flipped.nii", "time.nii", "stated.nii", "volume.nrrd"}
    compared = {name.partition("#")[0] for name in both}
    # DICOM of another plane is not for this detector; of two copies a scan reads one.
    assert compared >= (volumes if plane else set(images(archive)) - {"ct/again"})
