"""Refuse files and studies that hold more than a night has time for, before they are cut up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medscan.archive.geometry import cut_geometry
from medscan.archive.header import Header
from medscan.archive.types import Outcome, Reason
from medscan.choices import Bounds, Plane
from medscan.errors import CorruptError


class _Extent(NamedTuple):
    """Planes of a file, and the smallest side of the largest."""

    planes: int
    side: int


def file_refusal(header: Header, plane: Plane | None, bounds: Bounds) -> Outcome | None:
    """Outcome of a file with too many planes, or with none that is large enough; else None.

    Parameters
    ----------
    header : Header
    plane : Plane or None
        Plane that volume files are cut in.
    bounds : Bounds
    """
    extent = _extent(header, plane)
    if extent.planes > bounds.file_planes:
        return _refused(header, Reason.TOO_MANY_PLANES, f"it has {extent.planes}")
    if extent.side < bounds.side:
        pixels = "1 pixel" if extent.side == 1 else f"{extent.side} pixels"
        return _refused(header, Reason.TOO_SMALL, f"one of its sides is {pixels}")
    return None


def study_refusal(headers: Sequence[Header], plane: Plane | None, bounds: Bounds) -> list[Outcome]:
    """Outcomes of all files of a study that has too many planes; else none."""
    planes = sum(_extent(header, plane).planes for header in headers)
    if planes <= bounds.study_planes:
        return []
    return [_refused(h, Reason.STUDY_TOO_LARGE, f"the study has {planes}") for h in headers]


def _refused(header: Header, reason: Reason, detail: str) -> Outcome:
    return Outcome(header.file, reason, detail, header.study_uid, header.series_uid)


def _extent(header: Header, plane: Plane | None) -> _Extent:
    if header.volume is None:
        sides = [min(layer.rows, layer.columns) for layer in header.layers]
        return _Extent(header.frames, max(sides, default=0))
    shape = header.volume.shape
    volumes = math.prod(shape[3:])
    try:
        cut = cut_geometry(np.reshape(header.volume.affine, (4, 4)), shape, plane)
    except CorruptError:  # grouping says so of it
        return _Extent(max(shape[:3]) * volumes, max(shape[:3]))
    return _Extent(cut.frames * volumes, min(cut.rows, cut.columns))
