"""Small volume files, written byte by byte, and what medscan and other software read in them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813

from medscan.archive import ArchiveFile, Header, read_header
from medscan.decoding import file_errors
from medscan.imaging.volume import open_volume

SHAPE = (3, 4, 5)
VOXELS = np.arange(1, 61, dtype="<i2").reshape(SHAPE)
"""Voxels (i, j, k); every format writes the first axis fastest."""
DATA = VOXELS.tobytes(order="F")
LPS = "space: left-posterior-superior\nspace origin: (-5,-6,7)\n"
DIRECTIONS = "space directions: (1,0,0) (0,1.2,0) (0,0,2)\n"
AFFINE = np.array([[-1.0, 0, 0, 5], [0, -1.2, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]])
"""Affine to RAS of `LPS` and `DIRECTIONS`."""


def nrrd(path, fields="", data=DATA, *, type="short", sizes="3 4 5", encoding="raw"):
    """Write an NRRD file with further fields, each a line."""
    basic = f"type: {type}\ndimension: {len(sizes.split())}\nsizes: {sizes}\nendian: little\n"
    text = f"NRRD0005\n{basic}encoding: {encoding}\n{fields}\n"
    path.write_bytes(text.encode() + data)
    return path


def meta_image(path, fields="", data=DATA, *, type="SHORT", voxels="LOCAL"):
    """Write a MetaImage file with further fields, each a line."""
    basic = "ObjectType = Image\nNDims = 3\nDimSize = 3 4 5\n"
    text = f"{basic}{fields}ElementType = MET_{type}\nElementDataFile = {voxels}\n"
    path.write_bytes(text.encode() + data)
    return path


def nifti(path, affine=AFFINE, voxels=VOXELS, **fields):
    """Write a NIfTI-1 file, then change fields of its header in place."""
    image = nib.Nifti1Image(voxels, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nib.save(image, path)
    content = path.read_bytes()
    header = nib.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + content[348:])
    return path


def archived(path, root=None) -> ArchiveFile:
    root, status = root or path.parent, path.stat()
    return ArchiveFile(path.relative_to(root).as_posix(), root, status.st_size, status.st_mtime_ns)


def opened(path, root=None):
    """Values (i, j, k, ...), affine to RAS and notes, as medscan has them."""
    file = archived(path, root)
    header = read_header(file)
    assert isinstance(header, Header), header
    with file_errors():
        volume = open_volume(file, header.kind, 1 << 20)
        everything = (slice(None),) * len(header.volume.shape)
        values = np.asarray(volume.voxels[everything]) * volume.slope + volume.intercept
    affine = np.reshape(header.volume.affine, (4, 4))
    np.testing.assert_allclose(volume.affine, affine)
    return values, affine, header.notes


def agrees_with_itk(path):
    """Assert that SimpleITK reads the same values, lying in the same place."""
    image = sitk.ReadImage(str(path))
    values, affine, _ = opened(path)
    np.testing.assert_array_equal(values, sitk.GetArrayFromImage(image).T)
    for voxel in ((0, 0, 0), (2, 3, 4), (2, 0, 1)):
        lps = image.TransformIndexToPhysicalPoint(voxel)
        np.testing.assert_allclose((affine @ (*voxel, 1))[:3] * (-1, -1, 1), lps, atol=1e-4)
