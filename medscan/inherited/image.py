"""What exported DICOM objects inherit from the image: body region, side, lossy compression."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

from highdicom._standard_utils import get_anatomic_region_map
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

ENTIRE_BODY = "WHOLEBODY"
"""Region of a source that states none: DICOM requires one, and this one is never wrong."""
UNPAIRED = "U"
LOSSY = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
    JPEG2000: "ISO_15444_1",
    HTJ2K: "ISO_15444_15",
}
"""Lossy Image Compression Method by transfer syntax (PS3.3 C.7.6.1.1.5)."""
_MAYBE_LOSSLESS = (JPEG2000, HTJ2K)


def frame_anatomy(header: Dataset) -> Dataset:
    """Item of a Frame Anatomy Sequence (PS3.3 C.7.6.16.2.8) for the header of a source.

    The region is the source's Anatomic Region, else that of its Body Part Examined (PS3.16
    annex L), else the entire body.
    """
    item = Dataset()
    item.AnatomicRegionSequence = [_region(header)]
    item.FrameLaterality = _side(header) or UNPAIRED
    return item


def set_body_part(instance: Dataset, header: Dataset) -> None:
    """Set body part and side of a series (PS3.3 table C.7-5a).

    The side is left out for a part known to be unpaired, and empty where it is not known.
    """
    part, side = _body_part(header), _side(header)
    if part:
        instance.BodyPartExamined = part
    if side in ("L", "R"):
        instance.Laterality = side
    elif part is None or get_anatomic_region_map()[part][1]:
        instance.Laterality = ""


def patient_orientation(header: Dataset) -> Sequence[str]:
    """Patient Orientation (PS3.3 C.7.6.1.1.1), empty if it is missing or not valid."""
    letters = [str(end) for end in header.get("PatientOrientation") or ()]
    valid = len(letters) == 2 and all(re.fullmatch(r"[LRAPHF]{1,3}", end) for end in letters)
    return letters if valid else []


def set_lossy(instance: Dataset, header: Dataset, file_bytes: int) -> None:
    """State that an object's source was once compressed with loss (PS3.3 C.7.6.1.1.5).

    Parameters
    ----------
    instance : Dataset
    header : Dataset
        Header of a source, with its file meta information.
    file_bytes : int
        Size of its file, from which the ratio follows if the source does not state it.
    """
    syntax = header.file_meta.get("TransferSyntaxUID")
    stated, method = header.get("LossyImageCompression"), LOSSY.get(syntax)
    if stated != "01" and (method is None or (stated == "00" and syntax in _MAYBE_LOSSLESS)):
        return
    instance.LossyImageCompression = "01"
    if "LossyImageCompressionMethod" in header:
        instance.LossyImageCompressionMethod = header.LossyImageCompressionMethod
    elif method:
        instance.LossyImageCompressionMethod = method
    if "LossyImageCompressionRatio" in header:
        instance.LossyImageCompressionRatio = header.LossyImageCompressionRatio
    elif method:
        instance.LossyImageCompressionRatio = round(_pixel_bytes(header) / file_bytes, 1)


def _pixel_bytes(header: Dataset) -> int:
    frames, samples = int(header.get("NumberOfFrames") or 1), int(header.SamplesPerPixel)
    return int(frames * header.Rows * header.Columns * samples * header.BitsAllocated // 8)


def _region(header: Dataset) -> CodedConcept:
    with suppress(AttributeError, ValueError, TypeError, LookupError):
        stated = header.AnatomicRegionSequence[0]
        names = stated.CodeValue, stated.CodingSchemeDesignator, stated.CodeMeaning
        if all(isinstance(name, str) and name for name in names):
            return CodedConcept(*names)
    return get_anatomic_region_map()[_body_part(header) or ENTIRE_BODY][0]


def _body_part(header: Dataset) -> str | None:
    """Body Part Examined, if it is a term that DICOM defines."""
    part = str(header.get("BodyPartExamined") or "").strip().upper()
    return part if part in get_anatomic_region_map() else None


def _side(header: Dataset) -> str | None:
    """Side of the body, "L", "R", "B" for both or "U" for an unpaired part; None if not stated."""
    for keyword in ("FrameLaterality", "ImageLaterality", "Laterality"):
        if header.get(keyword) in ("L", "R", "B", UNPAIRED):
            return str(header[keyword].value)
    return None
