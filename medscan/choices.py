"""Values that a user chooses on the command line; imports no other room: `--help` stays fast."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

FILE_TIMEOUT_S = 120.0
"""Longest time for reading or decoding one file, unless the user sets another."""
MAX_FILE_BYTES = 8 << 30
"""Bytes that one file may have, unpack to or be decoded to, unless the user sets another limit."""
MOST_TILES = 4
"""Most tiles along a side: an image takes a run of the tower for each of 16, and one more."""
METHODS = ("discriminant", "mvfa", "madclip", "medvmad", "conrad", "cocoop", "patchcore", "clip")
"""Names of `medscan.methods`, which takes too long to import for `--help`."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one file and one study may hold, so that no single one takes a whole night.

    Parameters
    ----------
    file_planes, study_planes : int
        Most planes of a file, and of a study: frames, tiles of a mosaic, slices of every volume.
    side : int
        Fewest rows and columns of a plane.
    """

    file_planes: int = 65_536
    study_planes: int = 131_072
    side: int = 3


class Plane(StrEnum):
    """Anatomical plane that slices lie in."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


class Age(StrEnum):
    """Ages of patients, from 18 years and below."""

    ADULTS = "adults"
    CHILDREN = "children"


class Precision(StrEnum):
    """Number format of weights and activations; `auto` is the fastest that changes nothing."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"


class FitPrecision(StrEnum):
    """Number format of the frozen backbone while a detector is fitted."""

    FP32 = "fp32"
    MIXED = "mixed"
    BF16 = "bf16"
    FP16 = "fp16"


class RuntimeName(StrEnum):
    """Library that computes the model."""

    AUTO = "auto"
    TORCH = "torch"
    OPENVINO = "openvino"


class Order(StrEnum):
    """Which studies are scanned first."""

    PATH = "path"
    NEWEST = "newest"
    OLDEST = "oldest"


class Rescan(StrEnum):
    """Which studies are scanned again although their files have not changed."""

    NONE = "none"
    STALE = "stale"
    FAILED = "failed"
    ALL = "all"


class EngineName(StrEnum):
    """Where a scan runs: on this machine, or on a Ray cluster."""

    LOCAL = "local"
    RAY = "ray"


class ExportFormat(StrEnum):
    """What `medscan export --to` writes."""

    NIFTI = "nifti"
    BIDS = "bids"
    DICOM_PM = "dicom-pm"
    DICOM_SEG = "dicom-seg"
    DICOM_SC = "dicom-sc"
    DICOM_SR = "dicom-sr"
    PNG = "png"
    NPZ = "npz"
    CSV = "csv"
    ONNX = "onnx"


class PlotFormat(StrEnum):
    """What `medscan evaluate --plots` writes."""

    SVG = "svg"
    PNG = "png"


class Grid(StrEnum):
    """Grid that exported maps lie on."""

    SOURCE = "source"
    """The pixels of the source."""
    MODEL = "model"
    """The patches of the model: small, and nothing interpolated."""


class SegType(StrEnum):
    """What the pixels of an exported Segmentation hold."""

    BINARY = "binary"
    """Whether the score reaches the threshold."""
    LABELMAP = "labelmap"
    """As binary, but as numbers of segments in a Label Map Segmentation."""
    FRACTIONAL = "fractional"
    """Where the score lies on the detector's scale."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` parts of an archive.

    Parameters
    ----------
    number : int
        Number of this part, from 1.
    count : int
    """

    number: int
    count: int

    def __str__(self) -> str:
        """Format the shard as on the command line."""
        return f"{self.number}/{self.count}"
