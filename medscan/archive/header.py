"""What the header of one file says, as far as grouping and routing need it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import version
from operator import attrgetter
from typing import Any

from medscan.archive.types import ArchiveFile, Kind, Outcome, Reason

FORMAT = 5
"""Of the JSON form; a cache of another format is read anew."""

LIBRARIES = ("pydicom", "nibabel", "pillow", "SimpleITK")
"""That read headers."""

MAX_FRAMES = 2**18
"""Of one file. A slide of 130,000 x 130,000 pixels has as many tiles of 256 x 256."""

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Layer:
    """What a frame says about where it belongs; one stands for all frames that say the same.

    Parameters
    ----------
    rows, columns : int
    position : (float, float, float) or None
        ImagePositionPatient: LPS centre of the first pixel.
    orientation : tuple of 6 floats or None
        ImageOrientationPatient.
    spacing : (float, float) or None
        Millimetres between rows, then between columns.
    label : tuple of str
        Frames whose labels differ (frame of reference, image type, echo, stack) never share a
        stack.
    phase : tuple of str
        Time and the like: divides frames only where their positions repeat.
    """

    rows: int
    columns: int
    position: Triple | None = None
    orientation: tuple[float, ...] | None = None
    spacing: tuple[float, float] | None = None
    label: tuple[str, ...] = ()
    phase: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Volume:
    """Geometry of a volume file.

    Parameters
    ----------
    shape : tuple of int
        (ni, nj, nk, ...) as stored.
    affine : tuple of 16 floats
        Voxel index to RAS millimetres, row by row.
    data_bytes : int
        That the voxels take, uncompressed; 0 where it cannot be told.
    companion : str
        Path below the archive root of the file that holds the voxels; empty: they follow the
        header.
    """

    shape: tuple[int, ...]
    affine: tuple[float, ...]
    data_bytes: int = 0
    companion: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of one image file says.

    Parameters
    ----------
    frames : int
        Number of 2-D frames; 0 for volume files, which are cut later.
    layers : tuple of Layer
        One for each frame, or one for all of them; none for volume files.
    volume : Volume or None
        Of volume files.
    view : Plane or empty
        That a radiograph is seen in.
    """

    file: ArchiveFile
    kind: Kind
    frames: int = 1
    layers: tuple[Layer, ...] = ()
    volume: Volume | None = None
    study_uid: str = ""
    series_uid: str = ""
    sop_instance_uid: str = ""
    date: str = ""
    patient_id: str = ""
    modality: str = ""
    body_part: str = ""
    description: str = ""
    series_number: int | None = None
    instance_number: int | None = None
    view: str = ""
    notes: tuple[str, ...] = field(default=())


@cache
def tools() -> str:
    """Versions of the libraries that read headers: another may read what these cannot."""
    return ", ".join(f"{name} {version(name)}" for name in LIBRARIES)


_names = [f.name for f in fields(Header)]
_SHARED = ("study_uid", "series_uid", "date", "patient_id", "modality", "body_part", "description")
"""What files of a study have in common: kept in memory once."""
_rest = attrgetter(*_names[_names.index("study_uid") :])
_shared = [_names.index(name) - _names.index("study_uid") for name in _SHARED]
_layer = attrgetter(*(f.name for f in fields(Layer)))
_volume = attrgetter(*(f.name for f in fields(Volume)))


def to_json(found: Header | Outcome) -> dict[str, Any]:
    """A header, or the outcome that there is instead, for a cache.

    The file itself is left out: path, size and modification time are the cache's key.
    """
    if isinstance(found, Outcome):
        told = [found.reason.value, found.detail, found.study, found.series]
        return {"format": FORMAT, "tools": tools(), "outcome": told}
    layers = [_layer(layer) for layer in found.layers]
    volume = None if found.volume is None else _volume(found.volume)
    return {
        "format": FORMAT,
        "header": [found.kind.value, found.frames, layers, volume, *_rest(found)],
    }


def from_json(file: ArchiveFile, data: dict[str, Any]) -> Header | Outcome | None:
    """What `to_json` made; None where another version of medscan wrote it.

    None also for what is no image to other versions of the libraries that read it.
    """
    if data.get("format") != FORMAT:
        return None
    if "outcome" in data:
        if data.get("tools") != tools():
            return None
        reason, *told = data["outcome"]
        return Outcome(file, Reason(reason), *told)
    kind, frames, layers, volume, *rest = data["header"]
    for at in _shared:
        rest[at] = sys.intern(rest[at])
    return Header(
        file,
        Kind(kind),
        frames,
        tuple(Layer(*_tuples(values)) for values in layers),
        Volume(*_tuples(volume)) if volume else None,
        *_tuples(rest),
    )


def _tuples(values: list[Any]) -> list[Any]:
    """JSON has no tuples."""
    return [tuple(v) if type(v) is list else v for v in values]
