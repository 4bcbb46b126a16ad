"""What a DICOM header says of each frame: its place, what it shows, and of which volume."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

from pydicom.dataset import Dataset

from medscan.archive import cues, diffusion, facts, nuclear
from medscan.archive.cues import Items, cues_of, dimensions_of
from medscan.archive.elements import Elements
from medscan.archive.facts import FRAME_TYPES, Facts
from medscan.archive.geometry import normal_of, orthonormal
from medscan.archive.header import Layer
from medscan.archive.nuclear import nuclear_layers
from medscan.archive.values import has, numbers, sequence, text

_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_POSITION, _ORIENTATION = "ImagePositionPatient", "ImageOrientationPatient"
_IN_VOLUME = ("PlanePositionVolumeSequence", "ImagePositionVolume")
_TURNED_IN_VOLUME = ("PlaneOrientationVolumeSequence", "ImageOrientationVolume")
"""Functional groups and elements of Enhanced US Volumes."""
_KINDS = (
    ("MRImageFrameTypeSequence", "ComplexImageComponent"),
    ("MRArterialSpinLabelingSequence", "ASLContext"),
    ("MRModifierSequence", "MagnetizationTransfer"),
    ("ImageDataTypeSequence", "DataType"),
)
"""Functional groups and elements that say what a frame shows: magnitude, phase, velocity ..."""
_VIEWS = ("ViewPosition", "ImageLaterality")
_VIEW_CODE = "ViewCodeSequence"
_CONVERTED = (
    "UnassignedPerFrameConvertedAttributesSequence",
    "UnassignedSharedConvertedAttributesSequence",
)
"""What legacy converted enhanced objects keep of the slices they were made from."""
_ECHO_TIMES = ("EffectiveEchoTime", "EchoTime")

KEYWORDS = (
    "ImageType",
    "FrameOfReferenceUID",
    "EchoNumbers",
    "PixelSpacing",
    "ImagerPixelSpacing",
    _POSITION,
    _ORIENTATION,
    _SHARED,
    _PER_FRAME,
    *_VIEWS,
    _VIEW_CODE,
    *_ECHO_TIMES,
    *(keyword for _, keyword in _KINDS),
    *cues.KEYWORDS,
    *nuclear.KEYWORDS,
)
"""Elements of an object that are read here."""
TAGS = diffusion.TAGS
"""Private elements that are read here."""


def facts_of(ds: Dataset) -> Facts:
    """Facts of an object as a whole."""
    if isinstance(ds, Elements) and not has(ds, _SHARED):
        return _facts_stated(*ds.stated(facts.KEYWORDS))
    return facts.facts_of(_items(_whole(ds)))


@lru_cache(maxsize=8)
def _facts_stated(encodings: tuple[str, ...], stated: tuple[Any, ...]) -> Facts:
    """Facts of a slice, which the next slices of its series have in common."""
    return facts.facts_of(_items([cast("Dataset", Elements(dict(stated), encodings=encodings))]))


def layers_of(ds: Dataset, rows: int, columns: int, frames: int, said: Facts) -> tuple[Layer, ...]:
    """One layer for all frames of an object, or one for each where they differ.

    Parameters
    ----------
    ds : Dataset
        Its header.
    rows, columns, frames : int
    said : dict
        Facts of the object as a whole.
    """
    per_frame = sequence(ds, _PER_FRAME)[:frames]
    whole = _whole(ds)
    if per_frame:
        per_frame += [Dataset()] * (frames - len(per_frame))
        return tuple(_layer([*whole, item], rows, columns, said) for item in per_frame)
    layer = _layer(whole, rows, columns)
    if frames == 1:
        return (layer,)
    # A plain multi-frame object has one position at most, which is that of its first frame.
    return nuclear_layers(ds, layer, frames) or (replace(layer, position=None),)


def _whole(ds: Dataset) -> list[Dataset]:
    return [ds, *sequence(ds, _SHARED)[:1]]


def image_type(ds: Dataset, keyword: str = "ImageType") -> str:
    """Values of an image or frame type, in capitals, with backslashes between them."""
    return text(ds, keyword).upper()


def first_of(texts: Iterable[str]) -> str:
    """First text that is not empty; empty where all are."""
    return next((t for t in texts if t), "")


def _layer(sources: list[Dataset], rows: int, columns: int, said: Facts | None = None) -> Layer:
    """Read a layer from sources in reverse: the frame's own groups, the shared ones, the object."""
    items = _items(sources)
    position = numbers(items("PlanePositionSequence"), _POSITION, 3)
    turned = orthonormal(numbers(items("PlaneOrientationSequence"), _ORIENTATION, 6))
    measures, echo = items("PixelMeasuresSequence"), items("MREchoSequence")
    spacing = numbers(measures, "PixelSpacing", 2) or numbers(measures, "ImagerPixelSpacing", 2)
    echo_time = next((t for k in _ECHO_TIMES if (t := numbers(echo, k, 1))), None)
    phase = cues_of(items)
    return Layer(
        rows=rows,
        columns=columns,
        position=(position[0], position[1], position[2]) if position else None,
        orientation=turned,
        spacing=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else None,
        label=_label(items, sources[0]),
        phase=phase,
        dimensions=dimensions_of(items),
        frame_of_reference=text(sources[0], "FrameOfReferenceUID"),
        echo_ms=echo_time[0] if echo_time else None,
        depth_mm=None if position and turned else _depth(items),
        facts=facts.shared(_beyond(said, items, phase)),
    )


def _depth(items: Items) -> float | None:
    """Position along the normal of a volume of ultrasound (PS3.3 C.7.6.16.2.21, C.8.24.2).

    Its frame of reference is the transducer's, whose directions say nothing of the patient's.
    """
    (place_group, place), (turn_group, turn) = _IN_VOLUME, _TURNED_IN_VOLUME
    position = numbers(items(place_group)[:-1], place, 3)
    turned = orthonormal(numbers(items(turn_group)[:-1], turn, 6))
    return float(normal_of(turned) @ position) if position and turned else None


def _beyond(said: Facts | None, items: Items, phase: tuple[float | None, ...]) -> Facts:
    """What a frame says beyond `said`; its b-value also where only the vendor states it."""
    own = {} if said is None else facts.facts_of(items, facts.IN_GROUPS)
    if phase and phase[0]:
        own["DiffusionBValue"] = facts.number_text(phase[0])
    return {key: value for key, value in own.items() if said is None or said.get(key) != value}


def _items(sources: list[Dataset]) -> Items:
    groups = sources[:0:-1]
    if not groups:
        return lambda _: sources
    converted = [s for source in groups for name in _CONVERTED for s in _group(source, name)]
    found: dict[str, list[Dataset]] = {"": [*converted, sources[0]]}

    def items(group: str) -> list[Dataset]:
        if group not in found:
            found[group] = [*(s for source in groups for s in _group(source, group)), *found[""]]
        return found[group]

    return items


def _group(source: Dataset, name: str) -> list[Dataset]:
    """The item of a functional group, if there is one; most frames have few of them."""
    return sequence(source, name)[:1] if has(source, name) else []


def _label(items: Items, ds: Dataset) -> tuple[str, ...]:
    """Texts that differ between frames which never share a stack."""
    kinds = [kind for name in FRAME_TYPES for kind in items(name)[:-1]]
    return (
        first_of(image_type(k, "FrameType") for k in kinds) or image_type(ds),
        text(ds, "EchoNumbers"),
        first_of(text(c, "StackID") for c in items("FrameContentSequence")),
        *(text(ds, keyword).upper() for keyword in _VIEWS),
        first_of(text(code, "CodeValue") for code in sequence(ds, _VIEW_CODE)[:1]),
        *(first_of(text(i, keyword) for i in items(group)) for group, keyword in _KINDS),
    )
