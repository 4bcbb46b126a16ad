"""Frames of nuclear medicine: where each lies, and what its vectors say of it.

An NM object (DICOM PS3.3 C.8.4) is multi-frame without functional groups. Frame Increment Pointer
(0028,0009) names vectors that have a value for each frame: its energy window, detector, phase,
time slot, slice ... Of reconstructed slices, the position of the first is in the Detector
Information Sequence, and Spacing Between Slices leads to the others (PS3.3 C.8.4.15).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pydicom.dataset import Dataset

from medscan.archive.geometry import normal_of, orthonormal
from medscan.archive.header import Layer
from medscan.archive.values import integers, numbers, sequence

_KINDS = ("EnergyWindowVector", "DetectorVector")
"""Frames that differ in these never share a stack."""
_SLICE = "SliceVector"
_TIMES = ("RRIntervalVector", "TimeSlotVector", "PhaseVector", "TimeSliceVector")
_ACROSS, _DETECTORS = "SpacingBetweenSlices", "DetectorInformationSequence"
KEYWORDS = (*_KINDS, _SLICE, *_TIMES, _ACROSS, _DETECTORS)


def nuclear_layers(ds: Dataset, whole: Layer, frames: int) -> tuple[Layer, ...] | None:
    """Layers of the frames of an object with vectors; None where it has none.

    Parameters
    ----------
    ds : Dataset
    whole : Layer
        What the object says of all of them.
    frames : int
    """
    vectors = {name: values for name, values in _vectors(ds, frames)}
    if not vectors:
        return None
    kinds = zip(*(vectors.get(name, ("",) * frames) for name in _KINDS), strict=True)
    times = list(zip(*(vectors[name] for name in _TIMES if name in vectors), strict=True))
    layers = tuple(
        replace(whole, position=None, label=(*whole.label, *map(str, kind)), dimensions=time)
        for kind, time in zip(kinds, times or [()] * frames, strict=True)
    )
    return _placed(ds, layers, vectors.get(_SLICE))


def _vectors(ds: Dataset, frames: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name in (*_KINDS, _SLICE, *_TIMES):
        values = integers(ds, name)
        if len(values) == frames:
            yield name, values


def _placed(
    ds: Dataset, layers: tuple[Layer, ...], slices: tuple[int, ...] | None
) -> tuple[Layer, ...]:
    """Layers with positions, where the object says where its slices lie."""
    holders = [*sequence(ds, _DETECTORS)[:1], ds]
    first = numbers(holders, "ImagePositionPatient", 3)
    turned = orthonormal(numbers(holders, "ImageOrientationPatient", 6))
    step = numbers([ds], _ACROSS, 1)
    if not (slices and first and turned and step and step[0]):
        return layers
    places = [first + (n - 1) * step[0] * normal_of(turned) for n in slices]
    return tuple(
        replace(layer, position=(x, y, z), orientation=turned)
        for layer, (x, y, z) in zip(layers, (p.tolist() for p in places), strict=True)
    )
