"""Read the headers of NIfTI files, without voxels, and helpers for all volume files."""

from __future__ import annotations

import math
import re
from pathlib import PurePosixPath

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medscan.archive.header import MAX_FRAMES, Header, Record, VolumeGeometry
from medscan.archive.sniff import Content
from medscan.archive.types import MADE_BY_MEDSCAN, MAKER, ArchiveFile, Kind, Outcome, Reason
from medscan.errors import CorruptError, TooLargeError, TruncatedError, UnsupportedError

_CIFTI = range(3000, 3100)
_HIGHEST_RATIO = 1100
"""More than deflate can achieve, which is 1032 to 1."""
_SUFFIXES = re.compile(r"(?<=.)\.(nii|nii\.gz|hdr|mha|mhd|nrrd|nhdr|png|jpe?g|tiff?|gz)\Z", re.I)


def stem(path: str) -> str:
    """Name of a file without its folder and image suffix."""
    return _SUFFIXES.sub("", PurePosixPath(path).name)


def read_nifti(file: ArchiveFile, content: Content) -> Record:
    """Read a NIfTI-1 or NIfTI-2 header, of a single file or a pair, gzip-compressed or not.

    Raises
    ------
    FileError
        If the file ends too early or contradicts itself.
    """
    # The first field is the header's length, in either byte order.
    first = content.head[0] if content.head[0] in (0x5C, 0x1C) else content.head[3]
    header_type, length = (Nifti1Header, 348) if first == 0x5C else (Nifti2Header, 540)
    if len(content.head) < length:
        raise TruncatedError("it ends within its header")
    try:
        header = header_type(content.head[:length], check=False)
        if int(header["intent_code"]) in _CIFTI:
            return Outcome(file, Reason.NOT_AN_IMAGE, "CIFTI: grey ordinates, not a volume")
        if bytes(header["descrip"]).startswith(MAKER.encode() + b" "):
            return Outcome(file, Reason.DERIVED, MADE_BY_MEDSCAN)
        shape = tuple(int(n) for n in header.get_data_shape())
        size, affine = header.get_data_dtype().itemsize, header.get_best_affine()
    except (HeaderDataError, ValueError, KeyError, OverflowError) as error:
        raise CorruptError(f"header contradicts itself: {type(error).__name__}") from error
    pair = b"ni" in (content.head[344:346], content.head[4:6])
    offset = 0 if pair or not math.isfinite(header["vox_offset"]) else int(header["vox_offset"])
    check_shape(shape[: int(header["dim"][0])] if header["dim"][0] < 8 else ())
    needed = math.prod(shape) * size
    if not pair:
        check_bytes(file.size, needed + offset, content.gzipped)
    oriented = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    companion = beside(file, voxel_names(file.path)[0]) if pair else ""
    notes = () if oriented else ("no orientation in the header: assumed",)
    return volume_header(
        file, Kind.NIFTI, VolumeGeometry(shape, flat(affine), needed, companion), notes
    )


def voxel_names(header: str) -> tuple[str, ...]:
    """Names that the voxel file of a pair may have, from the path of its header file."""
    name = PurePosixPath(header).name
    start = PurePosixPath(name.removesuffix(".gz")).stem
    return tuple(start + suffix for suffix in (".img", ".IMG", ".img.gz"))


def volume_header(
    file: ArchiveFile, kind: Kind, volume: VolumeGeometry, notes: tuple[str, ...]
) -> Header:
    """Build the header of a volume file; refuse one with too many slices."""
    # Count slices in the plane that gives the most.
    frames = max(volume.shape[:3]) * math.prod(volume.shape[3:])
    if frames > MAX_FRAMES:
        raise TooLargeError(f"it declares {frames} slices")
    return Header(file, kind, 0, (), volume, description=stem(file.path), notes=notes)


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse volumes without voxels, or with more axes than any format has."""
    if not shape or min(shape) < 1 or len(shape) > 7:
        raise CorruptError(f"it declares a volume of {shape[:8]} voxels")


def check_bytes(have: int, needed: int, packed: bool) -> None:
    """Refuse a file whose `have` bytes cannot hold, or unpack to, `needed` bytes."""
    if needed > (have * _HIGHEST_RATIO if packed else have):
        raise TruncatedError(f"{needed} bytes are declared, the file has {have}")


def flat(affine: NDArray[np.float64]) -> tuple[float, ...]:
    """Flatten an affine row by row; refuse one that is not finite."""
    if not np.isfinite(affine).all():
        raise CorruptError("affine holds no finite numbers")
    return tuple(float(v) for v in np.asarray(affine, dtype=np.float64).ravel())


def beside(file: ArchiveFile, name: str) -> str:
    """Path of another file in the same folder; refuse paths that lead anywhere else."""
    if name != PurePosixPath(name).name or name in ("", ".", "..") or "\\" in name or "\0" in name:
        raise UnsupportedError("its voxels lie in a file outside its own folder")
    return str(PurePosixPath(file.path).with_name(name))
