"""What an archive holds: files, and the studies, series, stacks and frames found in them.

Directions and positions are DICOM's: millimetres in the patient's LPS frame (x to the left, y to
the back, z to the head). Pixels are addressed (column, row), whole numbers at their centres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from medscan.choices import Plane


class Kind(StrEnum):
    """What a file is by its content; its name is never trusted."""

    DICOM = "dicom"
    NIFTI = "nifti"
    ITK = "itk"
    """MetaImage or NRRD, read through SimpleITK."""
    PICTURE = "picture"
    """PNG, JPEG or TIFF."""


OURS = "medscan"
"""What medscan's own files name as their maker: DICOM as manufacturer, pictures as software in
their EXIF data, NIfTI at the start of the description."""
OWN = "made by medscan"
"""Why such a file is set aside: reports and exports are no part of an archive."""


class Bucket(StrEnum):
    """Where a file ends up: exactly one of these."""

    SCANNED = "scanned"
    SKIPPED = "skipped"
    FAILED = "failed"


class Reason(StrEnum):
    """Why a file is in its bucket. `REASONS` documents each in a line."""

    SCANNED = "scanned"
    NOT_AN_IMAGE = "not-an-image"
    DERIVED = "derived"
    LOCALIZER = "localizer"
    MOSAIC = "mosaic"
    DUPLICATE = "duplicate"
    OUT_OF_SCOPE = "out-of-scope"
    BACKGROUND = "background"
    ARRIVING = "arriving"
    LEFT_OVER = "left-over"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    UNSUPPORTED = "unsupported-encoding"
    TOO_LARGE = "too-large"
    DECODER_DIED = "decoder-died"
    OVERFLOWED = "overflowed"

    @property
    def bucket(self) -> Bucket:
        """The bucket that this reason puts a file into."""
        return REASONS[self][0]


REASONS: dict[Reason, tuple[Bucket, str]] = {
    Reason.SCANNED: (Bucket.SCANNED, "its slices were scored"),
    Reason.NOT_AN_IMAGE: (Bucket.SKIPPED, "it holds no image: text, archive, report, DICOMDIR"),
    Reason.DERIVED: (Bucket.SKIPPED, "a screen or report made from other images"),
    Reason.LOCALIZER: (Bucket.SKIPPED, "a localizer (scout) that only plans other images"),
    Reason.MOSAIC: (Bucket.SKIPPED, "a mosaic of slices whose header does not say how to cut it"),
    Reason.DUPLICATE: (Bucket.SKIPPED, "the same SOP instance was found in another file"),
    Reason.OUT_OF_SCOPE: (Bucket.SKIPPED, "no detector was fitted for images of this kind"),
    Reason.BACKGROUND: (Bucket.SKIPPED, "its slices are all black or of one grey: nothing to see"),
    Reason.ARRIVING: (Bucket.SKIPPED, "a file of its study is too young, or not listed: next time"),
    Reason.LEFT_OVER: (Bucket.SKIPPED, "the scan was stopped before its study: next time"),
    Reason.UNREADABLE: (Bucket.FAILED, "the operating system would not hand it out"),
    Reason.TRUNCATED: (Bucket.FAILED, "it ends before its content does"),
    Reason.CORRUPT: (Bucket.FAILED, "its content contradicts itself"),
    Reason.UNSUPPORTED: (Bucket.FAILED, "this installation cannot decode its encoding"),
    Reason.TOO_LARGE: (Bucket.FAILED, "it declares more pixels than the limit allows"),
    Reason.DECODER_DIED: (Bucket.FAILED, "its decoder died or ran out of time"),
    Reason.OVERFLOWED: (Bucket.FAILED, "its score is not a finite number at this precision"),
}


@dataclass(frozen=True, slots=True, order=True)
class ArchiveFile:
    """A regular file below an archive root.

    Parameters
    ----------
    path : str
        POSIX path below `root`. Bytes that are not UTF-8 are surrogate-escaped, as `os` does.
    root : Path
        The archive folder, absolute.
    size, mtime_ns : int
        From the directory scan: bytes, and nanoseconds since the epoch.
    """

    path: str
    root: Path
    size: int
    mtime_ns: int

    @property
    def full(self) -> Path:
        """Where to open it."""
        return self.root / self.path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file, and why: a row of the accounting.

    `study` and `series` are the UIDs that it states, where they are known; `other` is the path of
    the file that the detail ends with, if any.
    """

    file: ArchiveFile
    reason: Reason
    detail: str = ""
    study: str = ""
    series: str = ""
    other: str = ""

    @property
    def bucket(self) -> Bucket:
        """The bucket of its reason."""
        return self.reason.bucket


@dataclass(frozen=True, slots=True)
class Frame:
    """One 2-D pixel plane.

    Parameters
    ----------
    file : ArchiveFile
    index : int
        Frame of a DICOM object, tile of a mosaic or page of a picture (0-based). For a volume
        file, `number of the volume * slices + slice`, slices counted along the stack's normal axis
        after the volume was turned to closest canonical (RAS+): right, front and head grow.
    sop_instance_uid : str
        Empty when the file has none.
    position_mm : float or None
        Along the stack's normal (row direction x column direction), None when unknown.
    """

    file: ArchiveFile
    index: int = 0
    sop_instance_uid: str = ""
    position_mm: float | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """Frames of one series that lie on one another: same size, orientation, echo and time.

    Parameters
    ----------
    key : str
        Name safe for HDF5 and file systems, unique within the study.
    kind : Kind
    frames : tuple of Frame
        Ascending along the normal; instance number, then path, where positions tie or lack.
    rows, columns : int
        Of the stored frame; for a volume file, of the cut slice as displayed.
    orientation : tuple of 6 floats or None
        Direction of a row (towards growing columns), then of a column (growing rows), LPS.
    pixel_spacing : (float, float) or None
        Millimetres between rows, then between columns (DICOM PS3.3 10.7.1.3).
    origin : tuple of 3 floats or None
        LPS position of the centre of the first frame's first pixel.
    slice_spacing : float or None
        Median distance between neighbouring frames along the normal, millimetres.
    plane : Plane or None
        Nearest anatomical plane, from the orientation; without one, the view of a radiograph.
    last : tuple of 3 floats or None
        As `origin`, of the last frame: in a tilted stack it does not lie above it.
    notes : tuple of str
        What is odd about the geometry: "uneven spacing", "missing slices", "tilted" ...
    """

    key: str
    kind: Kind
    frames: tuple[Frame, ...]
    rows: int
    columns: int
    orientation: tuple[float, ...] | None = None
    pixel_spacing: tuple[float, float] | None = None
    origin: tuple[float, float, float] | None = None
    slice_spacing: float | None = None
    plane: Plane | None = None
    notes: tuple[str, ...] = ()
    last: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A DICOM series, or a volume or picture file that stands for one.

    `description` joins SeriesDescription, ProtocolName and SequenceName (a file's name for
    volumes and pictures): it is for routing and is shown only with `--identify`.
    """

    uid: str
    modality: str
    body_part: str
    description: str
    stacks: tuple[Stack, ...]
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """A DICOM study by UID; a volume or picture file is a study of one series.

    `key` is a hash (safe as a group or file name) of the UID, or of the path below the root.
    `patient_id` is identity: it leaves the program only as a keyed pseudonym.
    """

    key: str
    uid: str
    date: str
    patient_id: str
    series: tuple[Series, ...]

    def files(self) -> list[ArchiveFile]:
        """Every file that the study's frames come from, sorted by path."""
        found = {f.file for s in self.series for stack in s.stacks for f in stack.frames}
        return sorted(found)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """An archive after indexing: studies to look at, and every file that is in none of them.

    Each file found is a frame's file in `studies`, has one outcome in `set_aside`, or is the key
    of an entry in `companions`: raw data (.img, .raw) whose header file is the value, and which
    shares the fate of that header.
    """

    studies: tuple[Study, ...]
    set_aside: tuple[Outcome, ...] = field(default=())
    companions: Mapping[ArchiveFile, ArchiveFile] = field(default_factory=dict)
