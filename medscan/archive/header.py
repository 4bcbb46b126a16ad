"""What grouping and routing need from the header of one file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib.metadata import version
from operator import attrgetter
from typing import Any

from medscan.archive.facts import Facts, described, shared
from medscan.archive.types import ArchiveFile, Kind, Outcome, Reason

FORMAT = 15
"""Version of the JSON form; files cached in another format are read again.

Raise it too when a reader recognises a new kind of file, or judges a file differently: the version
of medscan is not compared.
"""

LIBRARIES = ("pydicom", "nibabel", "pillow")
"""Libraries that read headers."""

MAX_FRAMES = 2**18
"""Most frames of one file: a slide of 130,000 x 130,000 pixels in tiles of 256 x 256."""

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Layer:
    """What a frame says about where it belongs; frames that say the same share a layer.

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
        Frames whose labels differ (image type, echo number, stack, view ...) never share a stack.
    phase : tuple of floats or None
        Cues, as `cues.CUES` lists them: times, angles, b-values. They divide frames only where
        positions repeat. Missing ones at the end are left out.
    dimensions : tuple of int
        Dimension Index Values, or those of the vectors of nuclear medicine; they divide likewise.
    frame_of_reference : str
        UID of the frame of reference that positions are in.
    echo_ms : float or None
        Echo time.
    depth_mm : float or None
        Position along the normal, where only that within a volume of ultrasound is known.
    facts : dict
        Where it says something else than its object as a whole, and its b-value.
    """

    rows: int
    columns: int
    position: Triple | None = None
    orientation: tuple[float, ...] | None = None
    spacing: tuple[float, float] | None = None
    label: tuple[str, ...] = ()
    phase: tuple[float | None, ...] = ()
    dimensions: tuple[int, ...] = ()
    frame_of_reference: str = ""
    echo_ms: float | None = None
    depth_mm: float | None = None
    facts: Facts = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class VolumeGeometry:
    """Geometry of a volume file.

    Parameters
    ----------
    shape : tuple of int
        (ni, nj, nk, ...) as stored.
    affine : tuple of 16 floats
        Voxel index to RAS millimetres, row by row.
    data_bytes : int
        Size of the voxels, uncompressed; 0 where unknown.
    companion : str
        Path below the archive root of the file that holds the voxels; empty where they follow the
        header.
    qform, sform : tuple of 16 floats
        The two affines of a NIfTI header, as `affine`; empty where their code is 0 or they cannot
        be used.
    codes : (int, int)
        qform_code and sform_code; empty for other formats.
    """

    shape: tuple[int, ...]
    affine: tuple[float, ...]
    data_bytes: int = 0
    companion: str = ""
    qform: tuple[float, ...] = ()
    sform: tuple[float, ...] = ()
    codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of one image file says.

    Parameters
    ----------
    frames : int
        Number of 2-D frames; 0 for volume files, which are cut into frames later.
    layers : tuple of Layer
        One for each frame, or one for all of them; none for volume files.
    volume : VolumeGeometry or None
        Geometry of a volume file.
    facts : dict
        What the file says that it is; see `facts.Facts`.
    view : str
        Plane that a radiograph shows; empty for other images.
    accession_number : str
        Empty unless identities are kept.
    person : str
        Who has the PatientID, see `patients.person_of`; pseudonyms unless identities are kept.
    content : str
        SHA-256 of its pixel element as it is stored, with what follows; known only where another
        file states the same SOP instance.
    """

    file: ArchiveFile
    kind: Kind
    frames: int = 1
    layers: tuple[Layer, ...] = ()
    volume: VolumeGeometry | None = None
    study_uid: str = ""
    series_uid: str = ""
    sop_instance_uid: str = ""
    date: str = ""
    patient_id: str = ""
    accession_number: str = ""
    person: str = ""
    facts: Facts = field(default_factory=dict, hash=False)
    series_number: int | None = None
    instance_number: int | None = None
    view: str = ""
    notes: tuple[str, ...] = field(default=())
    content: str = ""

    @property
    def modality(self) -> str:
        """Modality; empty if it is not stated."""
        return self.facts.get("Modality", "")

    @property
    def body_part(self) -> str:
        """Body part; empty if it is not stated."""
        return self.facts.get("BodyPartExamined", "")

    @property
    def description(self) -> str:
        """What describes the series in words."""
        return described(self.facts)


@dataclass(frozen=True, slots=True)
class Stated:
    """What is said of images whose headers do not say it.

    Parameters
    ----------
    facts : dict
        See `facts.Facts`.
    plane : str
        Plane that pictures show; empty if it is not stated.
    """

    facts: Facts = field(default_factory=dict, hash=False)
    plane: str = ""


NOTHING = Stated()
"""Nothing is stated."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a file that is no image says of those beside it.

    Parameters
    ----------
    file : ArchiveFile
    detail : str
        What it is, for people.
    stated : Stated
        Of the images that it is about; these follow from its name.
    people : dict
        Facts of people by their name in a BIDS data set, such as `sub-01`.
    derived : bool
        Whether the data set in its folder is of derivatives.
    """

    file: ArchiveFile
    detail: str
    stated: Stated = NOTHING
    people: Mapping[str, Facts] = field(default_factory=dict, hash=False)
    derived: bool = False

    def outcome(self) -> Outcome:
        """What became of it: it is no image."""
        return Outcome(self.file, Reason.NOT_AN_IMAGE, self.detail)


Record = Header | Outcome | Sidecar
"""What reading a file gives: its header, what it says of other files, or its outcome."""


@cache
def tools() -> str:
    """Versions of the libraries that read headers: others may read what these cannot."""
    return ", ".join(f"{name} {version(name)}" for name in LIBRARIES)


_names = [f.name for f in fields(Header)]
_SHARED = ("study_uid", "series_uid", "date", "patient_id", "accession_number", "person")
"""Texts that files of a study have in common; each is kept in memory once."""
_header_values = attrgetter(*_names[_names.index("study_uid") :])
_shared_indices = [_names.index(name) - _names.index("study_uid") for name in _SHARED]
_facts_index = _names.index("facts") - _names.index("study_uid")
_layer_values = attrgetter(*(f.name for f in fields(Layer)))
_stated_values = attrgetter(*(f.name for f in fields(Stated)))
_volume_values = attrgetter(*(f.name for f in fields(VolumeGeometry)))


def to_json(record: Record) -> dict[str, Any]:
    """Convert a record for a cache.

    The file itself is left out: its path, size and modification time are the cache's key.
    """
    if isinstance(record, Outcome):
        values = [record.reason.value, record.detail, record.study, record.series]
        return {"format": FORMAT, "tools": tools(), "outcome": values}
    if isinstance(record, Sidecar):
        said = [record.detail, *_stated_values(record.stated), record.people, record.derived]
        return {"format": FORMAT, "sidecar": said}
    layers = [_layer_values(layer) for layer in record.layers]
    volume = None if record.volume is None else _volume_values(record.volume)
    return {
        "format": FORMAT,
        "header": [record.kind.value, record.frames, layers, volume, *_header_values(record)],
    }


def from_json(file: ArchiveFile, data: dict[str, Any]) -> Record | None:
    """Restore a record; None where its `FORMAT` differs.

    Outcomes are also None where other versions of the libraries wrote them: these may do better.
    """
    if data.get("format") != FORMAT:
        return None
    if "outcome" in data:
        if data.get("tools") != tools():
            return None
        reason, *texts = data["outcome"]
        return Outcome(file, Reason(reason), *texts)
    if "sidecar" in data:
        detail, facts, plane, people, derived = data["sidecar"]
        return Sidecar(file, detail, Stated(facts, plane), people, derived)
    kind, frames, layers, volume, *rest = data["header"]
    for index in _shared_indices:
        rest[index] = sys.intern(rest[index])
    rest[_facts_index] = shared(rest[_facts_index])
    return Header(
        file,
        Kind(kind),
        frames,
        tuple(Layer(*_tuples(values)) for values in layers),
        VolumeGeometry(*_tuples(volume)) if volume else None,
        *_tuples(rest),
    )


def _tuples(values: list[Any]) -> list[Any]:
    """Turn lists back into tuples, which JSON lacks."""
    return [tuple(v) if type(v) is list else v for v in values]
