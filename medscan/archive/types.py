"""What an archive holds: files, and the studies, series, stacks and frames in them.

Directions and positions are DICOM's: millimetres in the patient's LPS frame (x to the left, y to
the back, z to the head). Pixels are addressed (column, row), whole numbers at their centres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile
from pathlib import Path, PurePosixPath

from medscan.archive.facts import Facts
from medscan.choices import Plane


class Kind(StrEnum):
    """Kind of a file, decided by its content and never by its name."""

    DICOM = "dicom"
    NIFTI = "nifti"
    ITK = "itk"
    """MetaImage or NRRD, the formats of ITK."""
    PICTURE = "picture"
    """PNG, JPEG or TIFF."""

    @property
    def is_volume(self) -> bool:
        """Whether its files hold voxels, to be cut into slices in a plane."""
        return self in (Kind.NIFTI, Kind.ITK)


MAKER = "medscan"
"""Mark of files that medscan wrote: DICOM names it as manufacturer, pictures as software in their
EXIF data, NIfTI at the start of the description."""
MADE_BY_MEDSCAN = "made by medscan"
"""Detail of such a file, which is set aside: reports and exports are not part of the archive."""


class Bucket(StrEnum):
    """Where a file ends up: in exactly one bucket."""

    SCANNED = "scanned"
    SKIPPED = "skipped"
    FAILED = "failed"


class Reason(StrEnum):
    """Why a file is in its bucket; `REASONS` explains each in a line."""

    SCANNED = "scanned"
    NOT_AN_IMAGE = "not-an-image"
    LINKED = "linked"
    DERIVED = "derived"
    LOCALIZER = "localizer"
    MOSAIC = "mosaic"
    WHOLE_SLIDE = "whole-slide"
    DUPLICATE = "duplicate"
    OUT_OF_SCOPE = "out-of-scope"
    UNSTATED = "unstated"
    KEPT = "kept"
    OUTDATED = "outdated"
    BACKGROUND = "background"
    PASSED_OVER = "passed-over"
    TOO_SMALL = "too-small"
    ARRIVING = "arriving"
    LEFT_OVER = "left-over"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    UNSUPPORTED = "unsupported-encoding"
    TOO_LARGE = "too-large"
    HEADER_TOO_LARGE = "header-too-large"
    TOO_MANY_PLANES = "too-many-planes"
    STUDY_TOO_LARGE = "study-too-large"
    DECODER_DIED = "decoder-died"
    TIMED_OUT = "timed-out"
    OVERFLOWED = "overflowed"

    @property
    def bucket(self) -> Bucket:
        """Bucket of files with this reason."""
        return REASONS[self][0]


REASONS: dict[Reason, tuple[Bucket, str]] = {
    Reason.SCANNED: (Bucket.SCANNED, "its slices were scored"),
    Reason.NOT_AN_IMAGE: (Bucket.SKIPPED, "not an image: text, an archive, a report, a DICOMDIR"),
    Reason.LINKED: (
        Bucket.SKIPPED,
        "a symbolic link out of the archive, which is not followed: scan its target",
    ),
    Reason.DERIVED: (Bucket.SKIPPED, "made from other images, such as a segmentation or report"),
    Reason.LOCALIZER: (
        Bucket.SKIPPED,
        "a localizer (scout), which only helps to plan other images",
    ),
    Reason.MOSAIC: (Bucket.SKIPPED, "a mosaic whose header does not say how to divide it"),
    Reason.WHOLE_SLIDE: (Bucket.SKIPPED, "a large level, or the label, of a slide of microscopy"),
    Reason.DUPLICATE: (
        Bucket.SKIPPED,
        "another file holds the same image of the same SOP instance",
    ),
    Reason.OUT_OF_SCOPE: (Bucket.SKIPPED, "its header contradicts what each detector is for"),
    Reason.UNSTATED: (
        Bucket.SKIPPED,
        "its header does not say whether a detector is for it: name the detector to have it scored",
    ),
    Reason.KEPT: (
        Bucket.SKIPPED,
        "an earlier scan scored it and this one did not: that score is kept",
    ),
    Reason.OUTDATED: (
        Bucket.SKIPPED,
        "its files, or what may be written of them, changed since it was scored; it was not scored "
        "again, so that score was dropped",
    ),
    Reason.BACKGROUND: (Bucket.SKIPPED, "every slice is black or a single grey"),
    Reason.PASSED_OVER: (
        Bucket.SKIPPED,
        "its slices lie between scored ones, and --every asked not to score them all",
    ),
    Reason.TOO_SMALL: (Bucket.SKIPPED, "its planes are smaller than --min-side"),
    Reason.ARRIVING: (Bucket.SKIPPED, "its study may be incomplete: left for the next scan"),
    Reason.LEFT_OVER: (Bucket.SKIPPED, "the scan stopped before its study: left for the next scan"),
    Reason.UNREADABLE: (Bucket.FAILED, "the operating system could not open or read it"),
    Reason.TRUNCATED: (Bucket.FAILED, "it is shorter than its header declares"),
    Reason.CORRUPT: (Bucket.FAILED, "its content contradicts itself"),
    Reason.UNSUPPORTED: (Bucket.FAILED, "this installation cannot decode its encoding"),
    Reason.TOO_LARGE: (Bucket.FAILED, "it declares more pixels than the limit allows"),
    Reason.HEADER_TOO_LARGE: (
        Bucket.FAILED,
        "its header, or one value of it, is larger than any image needs",
    ),
    Reason.TOO_MANY_PLANES: (Bucket.FAILED, "it holds more planes than --max-file-planes allows"),
    Reason.STUDY_TOO_LARGE: (
        Bucket.FAILED,
        "its study holds more planes than --max-study-planes allows",
    ),
    Reason.DECODER_DIED: (Bucket.FAILED, "the process that read it died, or had no memory left"),
    Reason.TIMED_OUT: (Bucket.FAILED, "reading it took longer than --file-timeout allows"),
    Reason.OVERFLOWED: (Bucket.FAILED, "its score is not a finite number at this precision"),
}


TRANSIENT_REASONS = (Reason.UNREADABLE, Reason.DECODER_DIED, Reason.TIMED_OUT)
"""Failures that may not happen again although the files stay the same."""


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
        As the walk saw them: bytes, and nanoseconds since the epoch.
    """

    path: str
    root: Path
    size: int
    mtime_ns: int

    @property
    def full(self) -> Path:
        """Path to open it by."""
        return self.root / self.path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file, and why: a row of the accounting.

    Parameters
    ----------
    file : ArchiveFile
    reason : Reason
    detail : str
        One phrase beyond the reason, for people; empty where the reason says enough.
    study, series : str
        UIDs that the file states; empty where it states none.
    other : str
        Path of another file, to be appended to the detail; kept apart so that it can be hashed.
    """

    file: ArchiveFile
    reason: Reason
    detail: str = ""
    study: str = ""
    series: str = ""
    other: str = ""

    @property
    def bucket(self) -> Bucket:
        """Bucket of the reason."""
        return self.reason.bucket


Entry = ArchiveFile | Outcome
"""What a walk yields: a regular file, or the outcome of anything else."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One 2-D pixel plane.

    Parameters
    ----------
    file : ArchiveFile
    index : int
        Frame of a DICOM object, tile of a mosaic or page of a picture (0-based). In a volume file,
        `volume number * slices + slice`, with slices counted along the stack's normal axis after
        the volume was turned to closest canonical (RAS+): towards right, front and head.
    sop_instance_uid : str
        Empty when the file has none.
    position_mm : float or None
        Along the stack's normal (row direction x column direction); None when unknown.
    """

    file: ArchiveFile
    index: int = 0
    sop_instance_uid: str = ""
    position_mm: float | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """Frames of one series stacked along one normal: same size, orientation, echo and time.

    Parameters
    ----------
    key : str
        Name safe for HDF5 and file systems, unique within the study.
    kind : Kind
    frames : tuple of Frame
        Ascending along the normal; where positions tie or are missing, by instance number and path.
    rows, columns : int
        Of the stored frame; in a volume file, of the cut slice as displayed.
    orientation : tuple of 6 floats or None
        Direction of a row (towards growing columns), then of a column (growing rows), LPS.
    pixel_spacing : (float, float) or None
        Millimetres between rows, then between columns (DICOM PS3.3 10.7.1.3).
    origin : tuple of 3 floats or None
        LPS position of the centre of the first frame's first pixel.
    slice_spacing : float or None
        Median distance between neighbouring frames along the normal, millimetres.
    plane : Plane or None
        Nearest anatomical plane, from the orientation; of a radiograph, the plane of its view.
    last : tuple of 3 floats or None
        As `origin`, of the last frame; in a tilted stack, not straight above the first.
    notes : tuple of str
        What is unusual about the geometry: "uneven spacing", "missing slices", "tilted" ...
    qform, sform : tuple of 16 floats
        The two affines of a NIfTI header, row by row: column, row and place in `frames` to RAS
        millimetres. Empty where the header has none, and for other formats.
    form_codes : (int, int)
        qform_code and sform_code of a NIfTI header; empty for other formats.
    facts : dict
        What the first frame says that it is; see `facts.Facts`.
    frame_of_reference : str
        FrameOfReferenceUID: positions in two stacks compare if it is the same (PS3.3 C.7.4.1.1.1).
        Empty where no valid one is stated, or frames differ in it.
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
    qform: tuple[float, ...] = ()
    sform: tuple[float, ...] = ()
    form_codes: tuple[int, ...] = ()
    facts: Facts = field(default_factory=dict, hash=False)
    frame_of_reference: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """A DICOM series, or a volume or picture file as a series of its own.

    `description` joins SeriesDescription, ProtocolName and SequenceName (of volumes and pictures,
    the file's name). It is shown only with `--identify`. Routing goes by the facts of each stack.
    """

    uid: str
    modality: str
    body_part: str
    description: str
    stacks: tuple[Stack, ...]
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """A DICOM study by UID, or a session of a BIDS data set; other files are studies of one series.

    `key` is a hash of the UID, or of the full path: safe as a group or file name.
    `patient_id` identifies the patient: it leaves the program only as a keyed pseudonym.
    `accession_number`, the order that it was made for, is empty unless identities are kept.
    `person` is as in `header.Header`.
    """

    key: str
    uid: str
    date: str
    patient_id: str
    series: tuple[Series, ...]
    accession_number: str = ""
    person: str = ""

    def said(self, keyword: str) -> str:
        """A fact that holds for the whole study; empty where nothing states it."""
        facts = (stack.facts for series in self.series for stack in series.stacks)
        return next((f[keyword] for f in facts if keyword in f), "")

    def files(self) -> list[ArchiveFile]:
        """Every file that the study's frames come from, sorted by path."""
        return sorted({f.file for s in self.series for stack in s.stacks for f in stack.frames})

    @property
    def place(self) -> str:
        """Path below the archive root of its only file, or of the folder that all are in."""
        paths = [PurePosixPath(file.path) for file in self.files()]
        folders = sorted(paths[0].parts if len(paths) == 1 else p.parent.parts for p in paths)
        pairs = zip(folders[0], folders[-1], strict=False)
        return "/".join(a for a, b in takewhile(lambda pair: pair[0] == pair[1], pairs)) or "."


@dataclass(frozen=True, slots=True)
class Catalogue:
    """An archive after indexing: its studies, and every file that belongs to none of them.

    Each file of the archive either provides frames in `studies`, or has one outcome in
    `set_aside`, or is a key of `companions`: raw data (.img, .raw) whose header file is the value.
    Raw data share the fate of their header file.
    """

    studies: tuple[Study, ...]
    set_aside: tuple[Outcome, ...] = field(default=())
    companions: Mapping[ArchiveFile, ArchiveFile] = field(default_factory=dict)
