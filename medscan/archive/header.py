"""What the header of one file says, as far as grouping and routing need it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from medscan.archive.types import ArchiveFile, Kind, Outcome, Reason

FORMAT = 2
"""Of the JSON form; a cache of another format is read anew."""

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
    notes: tuple[str, ...] = field(default=())


_PLAIN = (
    "frames",
    "study_uid",
    "series_uid",
    "sop_instance_uid",
    "date",
    "patient_id",
    "modality",
    "body_part",
    "description",
    "series_number",
    "instance_number",
)


def to_json(found: Header | Outcome) -> dict[str, Any]:
    """A header, or the outcome that there is instead, for a cache.

    The file itself is left out: path, size and modification time are the cache's key.
    """
    if isinstance(found, Outcome):
        return {"format": FORMAT, "reason": found.reason.value, "detail": found.detail}
    volume = found.volume
    return {
        "format": FORMAT,
        "kind": found.kind.value,
        **{name: getattr(found, name) for name in _PLAIN},
        "notes": found.notes,
        "layers": [
            [y.rows, y.columns, y.position, y.orientation, y.spacing, y.label, y.phase]
            for y in found.layers
        ],
        "volume": volume and [volume.shape, volume.affine, volume.data_bytes, volume.companion],
    }


def from_json(file: ArchiveFile, data: dict[str, Any]) -> Header | Outcome | None:
    """What `to_json` made, or None where another version of medscan wrote it."""
    if data.get("format") != FORMAT:
        return None
    if "reason" in data:
        return Outcome(file, Reason(data["reason"]), data["detail"])
    volume = data["volume"]
    return Header(
        file=file,
        kind=Kind(data["kind"]),
        notes=tuple(data["notes"]),
        layers=tuple(Layer(*(_tuple(v) for v in values)) for values in data["layers"]),
        volume=Volume(*(_tuple(v) for v in volume)) if volume else None,
        **{name: data[name] for name in _PLAIN},
    )


def _tuple(value: Any) -> Any:
    """JSON has no tuples."""
    return tuple(value) if isinstance(value, list) else value
