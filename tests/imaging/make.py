"""Small files of every kind, written with code."""

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medscan.archive.geometry import cut_geometry, nearest_plane
from medscan.archive.types import ArchiveFile, Frame, Kind, Stack
from medscan.choices import Plane

MAX_FILE_BYTES = 2**26
RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
# RAS axis and direction along which frames, rows and columns of a displayed slice run.
DISPLAY = {
    Plane.AXIAL: ((2, 1), (1, -1), (0, -1)),
    Plane.CORONAL: ((1, 1), (2, -1), (0, -1)),
    Plane.SAGITTAL: ((0, 1), (2, -1), (1, -1)),
}
TURNS = list(itertools.product((False, True), repeat=3))
ORIENTATIONS = [
    np.column_stack([axes, signs]).astype(float)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def archived(path: Path) -> ArchiveFile:
    stat = path.stat()
    return ArchiveFile(path.name, path.parent, stat.st_size, stat.st_mtime_ns)


def header(pixels: np.ndarray, **tags: object) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    ds.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = pixels.dtype.itemsize * 8
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for name, value in tags.items():
        setattr(ds, name, value)
    return ds


def write_dicom(path: Path, ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> ArchiveFile:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(path, ds, enforce_file_format=True)
    return archived(path)


def stack_of(files, rows, columns, kind=Kind.DICOM, **geometry) -> Stack:
    frames = tuple(Frame(file) for file in files)
    return Stack("s", kind, frames, rows, columns, **geometry)


def dicom_of(pixels: np.ndarray, path: Path, **tags: object) -> Stack:
    """A stack of one DICOM frame."""
    return stack_of([write_dicom(path, header(pixels, **tags))], *pixels.shape[:2])


def dicom_series(folder: Path, volume, spacing, plane, turn=(False, False, False), **tags) -> Stack:
    """Series of a RAS volume (integers) in a plane, stored transposed and mirrored by `turn`."""
    folder.mkdir(exist_ok=True)
    (n, _), *shown = DISPLAY[plane]
    axes = [n, *(a for a, _ in shown)]
    frames = volume.transpose(axes)[:, ::-1, ::-1]
    steps = [RAS_TO_LPS[a] * np.eye(3)[a] * sign * spacing[a] for a, sign in shown]
    corner = np.zeros(3)
    for a, _ in shown:
        corner[a] = (volume.shape[a] - 1) * spacing[a]
    transpose, flip_x, flip_y = turn
    column, row = steps
    origin = corner * RAS_TO_LPS
    if flip_y:
        origin, column, frames = origin + column * (frames.shape[1] - 1), -column, frames[:, ::-1]
    if flip_x:
        origin, row, frames = origin + row * (frames.shape[2] - 1), -row, frames[:, :, ::-1]
    if transpose:
        row, column, frames = column, row, frames.swapaxes(1, 2)
    lengths = float(np.linalg.norm(column)), float(np.linalg.norm(row))
    orientation = tuple(float(v) for v in (*row / lengths[1], *column / lengths[0]))
    files = [
        write_dicom(folder / f"{i}.dcm", header(np.ascontiguousarray(frame), **tags))
        for i, frame in enumerate(frames)
    ]
    away = np.cross(orientation[:3], orientation[3:]) @ (RAS_TO_LPS * np.eye(3)[n])
    assert nearest_plane(orientation) is plane
    return stack_of(
        files if away > 0 else files[::-1],
        *frames.shape[1:],
        orientation=orientation,
        pixel_spacing=lengths,
        plane=plane,
    )


def reoriented(volume, spacing, orientation):
    """The RAS volume stored in another of the 48 orientations, and its affine."""
    image = nibabel.Nifti1Image(volume, np.diag([*spacing, 1.0]))
    turned = image.as_reoriented(orientation)
    return np.asarray(turned.dataobj), turned.affine


def write_nifti(path: Path, data, affine, slope=None, intercept=0.0, kind=nibabel.Nifti1Image):
    image = kind(data, affine)
    if slope is not None:
        image.header.set_slope_inter(slope, intercept)
    image.to_filename(path)
    return archived(path)


def volume_stack(file, affine, shape, plane=None, kind=Kind.NIFTI) -> Stack:
    cut = cut_geometry(affine, shape, plane)
    volumes = int(np.prod(shape[3:]))
    order = [v * cut.frames + i for v in range(volumes) for i in cut.order()]
    return Stack(
        "v",
        kind,
        tuple(Frame(file, i) for i in order),
        cut.rows,
        cut.columns,
        orientation=cut.orientation,
        pixel_spacing=cut.pixel_spacing,
        plane=cut.plane,
    )
