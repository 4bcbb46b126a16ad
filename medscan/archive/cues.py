"""What in a header tells two volumes of the same places apart: cues, read from one frame.

A cue is a number. `CUES` names those that every frame may have, in the order in which
`divide.volumes` tries them; beside these come the Dimension Index Values of enhanced objects
(DICOM PS3.3 C.7.6.17) and the vectors of nuclear medicine (PS3.3 C.8.4.8).
"""

from __future__ import annotations

import datetime
import re
import zlib
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from medscan.archive.diffusion import KEYWORDS as DIFFUSION_KEYWORDS
from medscan.archive.diffusion import diffusion_of
from medscan.archive.values import has, integers, numbers, text

Items = Callable[[str], list[Dataset]]
"""Data sets that may hold a frame's value: its functional group of that name, its own before the
shared one, what a conversion kept of the original, then the object itself. For an empty name,
there are no groups."""


class Scale(Enum):
    """How the values of a cue compare."""

    COUNT = "count"
    """Whole numbers: equal or not."""
    MEASURE = "measure"
    """Settings of the scanner: equal within rounding."""
    TIME = "time"
    """Grows while images are acquired, and may differ from slice to slice of one volume."""
    NAME = "name"
    """Texts, as checksums: equal or not."""


class Cue(NamedTuple):
    """How the values of a cue compare, and where they stand: a functional group, and keywords."""

    scale: Scale
    group: str = ""
    keywords: tuple[str, ...] = ()
    axis: int = 0


_COUNT, _MEASURE, _TIME, _NAME = Scale.COUNT, Scale.MEASURE, Scale.TIME, Scale.NAME
_CONTENT, _CARDIAC = "FrameContentSequence", "CardiacSynchronizationSequence"
_BREATH, _FLOW = "RespiratorySynchronizationSequence", "MRVelocityEncodingSequence"
_TIMING = "MRTimingAndRelatedParametersSequence"
_DIFFUSION = "MRDiffusionSequence"

CUES: tuple[Cue, ...] = (
    *(Cue(_MEASURE, _DIFFUSION) for _ in ("b-value", "x", "y", "z")),
    Cue(_COUNT, _CONTENT, ("TemporalPositionIndex", "TemporalPositionIdentifier")),
    *(Cue(_MEASURE, _FLOW, ("VelocityEncodingDirection",), axis) for axis in range(3)),
    Cue(_MEASURE, "MRModifierSequence", ("InversionTimes", "InversionTime")),
    Cue(_MEASURE, _TIMING, ("FlipAngle",)),
    Cue(_MEASURE, _TIMING, ("RepetitionTime",)),
    Cue(_MEASURE, "CTXRayDetailsSequence", ("KVP",)),
    Cue(_MEASURE, "PixelMeasuresSequence", ("SliceThickness",)),
    Cue(_NAME, "CTReconstructionSequence", ("ConvolutionKernel",)),
    Cue(_NAME, "MRReceiveCoilSequence", ("ReceiveCoilName",)),
    Cue(_NAME, "IrradiationEventIdentificationSequence", ("IrradiationEventUID",)),
    Cue(_MEASURE, _CARDIAC, ("NominalPercentageOfCardiacPhase",)),
    Cue(_MEASURE, _BREATH, ("NominalPercentageOfRespiratoryPhase",)),
    Cue(_TIME, _CARDIAC, ("NominalCardiacTriggerDelayTime", "TriggerTime")),
    Cue(_TIME, _CARDIAC, ("ActualCardiacTriggerDelayTime",)),
    Cue(_TIME, _BREATH, ("NominalRespiratoryTriggerDelayTime",)),
    Cue(_TIME, "TemporalPositionSequence", ("TemporalPositionTimeOffset",)),
    Cue(_TIME, "", ("FrameReferenceTime",)),
    Cue(_TIME, _CONTENT, ("FrameAcquisitionNumber", "AcquisitionNumber")),
    Cue(_TIME, _CONTENT, ("FrameReferenceDateTime",)),
    Cue(_TIME, _CONTENT, ("FrameAcquisitionDateTime", "AcquisitionDateTime", "AcquisitionTime")),
    Cue(_TIME, "", ("ContentTime",)),
)
_CLOCK = re.compile(r"(\d{8})?(\d\d):?(\d\d)?:?(\d\d(?:\.\d{1,6})?)?(?:[+-]\d{4})?", re.ASCII)
_CLOCKS = frozenset(
    keyword for cue in CUES for keyword in cue.keywords if dictionary_VR(keyword) in ("DT", "TM")
)
"""Keywords whose values are times of day, not numbers."""

KEYWORDS: tuple[str, ...] = tuple(
    dict.fromkeys((*DIFFUSION_KEYWORDS, *(keyword for cue in CUES for keyword in cue.keywords)))
)
"""Elements of the object itself that hold cues."""


def cues_of(items: Items) -> tuple[float | None, ...]:
    """Read the cues of a frame, in the order of `CUES`; None where the header has none.

    Cues that are missing at the end are left out.
    """
    found = [*diffusion_of(items(_DIFFUSION)), *(_read(cue, items(cue.group)) for cue in CUES[4:])]
    while found and found[-1] is None:
        found.pop()
    return tuple(found)


def dimensions_of(items: Items) -> tuple[int, ...]:
    """Dimension Index Values of a frame; empty where it has none."""
    return next((d for i in items(_CONTENT)[:-1] if (d := integers(i, "DimensionIndexValues"))), ())


def _read(cue: Cue, sources: list[Dataset]) -> float | None:
    for keyword in cue.keywords:
        for ds in sources:
            if has(ds, keyword) and (found := _value(cue, ds, keyword)) is not None:
                return found
    return None


def _value(cue: Cue, ds: Dataset, keyword: str) -> float | None:
    if cue.scale is Scale.NAME:
        name = text(ds, keyword)
        return float(zlib.crc32(name.encode("utf-8", "surrogateescape"))) if name else None
    if keyword in _CLOCKS:
        return _seconds(text(ds, keyword))
    values = numbers([ds], keyword, cue.axis + 1)
    return values[cue.axis] if values else None


def _seconds(moment: str) -> float | None:
    """Seconds of a DICOM time, or date and time; None where it is neither."""
    parts = _CLOCK.fullmatch(moment)
    if parts is None:
        return None
    day, hours, minutes, seconds = parts.groups(default="0")
    try:
        days = datetime.date.fromisoformat(day).toordinal() if len(day) == 8 else 0
    except ValueError:
        return None
    return days * 86400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)
