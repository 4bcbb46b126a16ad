"""Frames of one series -> stacks, ordered along their normals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from medscan.archive.geometry import Cut, Vector, cut_geometry, nearest_plane, normal_of
from medscan.archive.header import Header, Layer, VolumeGeometry
from medscan.archive.types import Frame, Kind, Stack
from medscan.choices import Plane

T = TypeVar("T")

_SAME_DIRECTION = 1e-2
"""Direction cosines of one stack differ by less: half a degree."""
_SAME_SPACING = 1e-2
"""Pixel spacings of one stack differ by less, relatively."""
_SAME_POSITION = 1e-2
"""Positions nearer than this are the same, millimetres."""
_EVEN = 0.05
"""Gaps that differ from their median by less, relatively, are even."""
_UPRIGHT = np.cos(np.deg2rad(1.0))
"""Smallest cosine between the normal and the way from first to last frame of an upright stack."""
_LAST = 2**62
"""Stands for a missing instance number: such frames come last."""


@dataclass(frozen=True, slots=True)
class LayerFrame:
    """A frame with its layer, and its position along the normal of its group, in millimetres."""

    header: Header
    layer: Layer
    index: int
    along: float = 0.0

    def order(self) -> tuple[int, str, str, int]:
        """Order of frames without positions: instance number, then path, then frame number."""
        number = self.header.instance_number
        file = self.header.file
        return (_LAST if number is None else number, file.path, str(file.root), self.index)


def dicom_stacks(headers: Iterable[Header], key: str) -> tuple[Stack, ...]:
    """Divide the frames of one series (or the pages of a picture) into stacks.

    Frames share a stack if they agree in size, label (frame of reference, image type, echo,
    enhanced stack), pixel spacing and orientation. Where positions repeat, time divides them, or
    the order of acquisition if there is no time. Frames with a position never share a stack with
    frames without, nor do frames of two multi-frame objects that have no positions.

    Frames ascend along row x column direction; without positions they follow instance number,
    path and frame number (SliceLocation has no defined direction and is ignored).

    Parameters
    ----------
    headers : iterable of Header
    key : str
        Key of the first stack; the others append "-2", "-3" ... in order of their first instance.
    """
    frames = sorted((f for header in headers for f in _layer_frames(header)), key=LayerFrame.order)
    groups = [g for alike in _grouped(frames, _agreement) for g in _split_by_direction(alike)]
    parts = [part for group in groups for part in _split_by_phase(_sort_along_normal(group))]
    parts.sort(key=lambda part: (min(f.order()[0] for f in part), _tie_breaker(part)))
    return tuple(_stack(part, _numbered(key, n)) for n, part in enumerate(parts))


def _numbered(key: str, n: int) -> str:
    return f"{key}-{n + 1}" if n else key


def _layer_frames(header: Header) -> list[LayerFrame]:
    layers = header.layers
    if len(layers) != header.frames:
        layers = layers[:1] * header.frames
    return [LayerFrame(header, layer, index) for index, layer in enumerate(layers)]


def _grouped(items: Sequence[T], key: Callable[[T], object]) -> list[list[T]]:
    """Group items by a key, keeping their order."""
    groups: defaultdict[object, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


def _agreement(frame: LayerFrame) -> tuple[object, ...]:
    """Everything in which frames of one stack must be exactly equal."""
    layer = frame.layer
    located = layer.position is not None and layer.orientation is not None
    # Without positions, a multi-frame object is a film: two of them are two films.
    film = "" if located or frame.header.frames == 1 else frame.header.file.full
    # Without positions, frontal and lateral radiographs of one series must not share a stack.
    return (layer.rows, layer.columns, layer.label, located, film, located or frame.header.view)


def _tie_breaker(part: list[LayerFrame]) -> tuple[object, ...]:
    """Order of stacks that start with the same instance number; paths, which may change, last."""
    first = min(part, key=lambda f: (f.header.sop_instance_uid, f.index))
    layer = first.layer
    return (
        (layer.rows, layer.columns, layer.label),
        first.header.view,
        layer.orientation or (),
        layer.spacing or (),
        layer.phase,
        first.header.sop_instance_uid,
        first.index,
        first.order(),
    )


def _split_by_direction(group: list[LayerFrame]) -> list[list[LayerFrame]]:
    """Divide frames by orientation and pixel spacing, within a tolerance."""

    def same(a: Layer, b: Layer) -> bool:
        if (a.orientation is None) != (b.orientation is None):
            return False
        turned = np.abs(np.subtract(a.orientation or 0.0, b.orientation or 0.0)).max()
        if (a.spacing is None) != (b.spacing is None):
            return False
        ratio = np.divide(a.spacing or 1.0, b.spacing or 1.0)
        return bool(turned < _SAME_DIRECTION and np.abs(ratio - 1).max() < _SAME_SPACING)

    # Exactly equal frames first, in an order of their own: parts do not depend on the files' order.
    equals = _grouped(group, lambda f: (f.layer.orientation or (), f.layer.spacing or ()))
    equals.sort(key=lambda alike: (alike[0].layer.orientation or (), alike[0].layer.spacing or ()))
    parts: list[list[LayerFrame]] = []
    for alike in equals:
        near = next((p for p in parts if same(p[0].layer, alike[0].layer)), None)
        if near is None:
            parts.append(alike)
        else:
            near.extend(alike)
    return parts


def _sort_along_normal(group: list[LayerFrame]) -> list[LayerFrame]:
    """Order frames by their positions along their common normal."""
    first = group[0].layer
    if first.orientation is None or first.position is None:
        return sorted(group, key=LayerFrame.order)
    normal = normal_of(first.orientation)
    frames = [
        LayerFrame(f.header, f.layer, f.index, float(normal @ np.array(f.layer.position)))
        for f in group
    ]
    frames.sort(key=lambda f: f.along)
    # Equal positions may differ in their last digits: sort by runs of them, then within each run.
    runs = np.cumsum([0, *(np.diff([f.along for f in frames]) > _SAME_POSITION)])
    numbered = sorted(zip(runs, frames, strict=True), key=lambda pair: (pair[0], pair[1].order()))
    return [frame for _, frame in numbered]


def _runs(group: list[LayerFrame]) -> list[list[LayerFrame]]:
    """Neighbours of an ordered group that share a position."""
    runs: list[list[LayerFrame]] = []
    for frame in group:
        if runs and frame.along - runs[-1][-1].along <= _SAME_POSITION:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    return runs


def _split_by_phase(group: list[LayerFrame], phase: int = 0) -> list[list[LayerFrame]]:
    """Divide an ordered group so that no part has a position twice.

    A group at a single position is a film, not a volume: it stays together.
    """
    if group[0].layer.position is None:
        return [group]
    runs = _runs(group)
    repeats = max(len(run) for run in runs)
    if repeats == 1 or len(runs) == 1:
        return [group]
    for n in range(phase, max(len(f.layer.phase) for f in group)):
        parts = _grouped(group, lambda f, n=n: f.layer.phase[n : n + 1])  # type: ignore[misc]
        # With more parts than repeats, the tag counts slices: it would tear the volumes apart.
        if 1 < len(parts) <= repeats:
            return [whole for part in parts for whole in _split_by_phase(part, n + 1)]
    return [[run[k] for run in runs if k < len(run)] for k in range(repeats)]


def _stack(part: list[LayerFrame], key: str) -> Stack:
    first = part[0].layer
    located = first.position is not None and first.orientation is not None
    distances = np.diff([f.along for f in part]) if located else np.empty(0)
    frames = tuple(
        Frame(f.header.file, f.index, f.header.sop_instance_uid, f.along if located else None)
        for f in part
    )
    spread = bool(distances.size) and distances.max() > _SAME_POSITION
    return Stack(
        key=key,
        kind=part[0].header.kind,
        frames=frames,
        rows=first.rows,
        columns=first.columns,
        orientation=first.orientation,
        pixel_spacing=first.spacing,
        origin=first.position,
        slice_spacing=float(np.median(distances)) if spread else None,
        plane=_plane(part[0]),
        notes=tuple(_notes(part, distances)) if part[0].header.kind is Kind.DICOM else (),
        last=part[-1].layer.position,
    )


def _plane(frame: LayerFrame) -> Plane | None:
    orientation, view = frame.layer.orientation, frame.header.view
    if orientation is not None:
        return nearest_plane(orientation)
    return Plane(view) if view else None


def _notes(part: list[LayerFrame], distances: Vector) -> list[str]:
    notes = sorted({note for frame in part for note in frame.header.notes})
    if part[0].layer.position is None or part[0].layer.orientation is None:
        return [*notes, "no position"]
    if distances.size and distances.max() <= _SAME_POSITION:
        return [*notes, "repeated position"]
    return [*notes, *_uneven(distances), *_tilted(part)]


def _uneven(distances: Vector) -> list[str]:
    """Note uneven gaps; if each is a multiple of the usual gap, slices are missing there."""
    if distances.size < 2:
        return []
    median = np.median(distances)
    usual = median if np.isclose(distances, median, rtol=_EVEN).any() else distances.min()
    odd = distances[np.abs(distances - usual) > max(_EVEN * usual, _SAME_POSITION)]
    if not odd.size:
        return []
    fits = np.abs(odd / usual - np.round(odd / usual)) < _EVEN
    missing = bool(np.all(fits & (odd > 1.5 * usual)))
    return ["missing slices" if missing else "uneven spacing"]


def _tilted(part: list[LayerFrame]) -> list[str]:
    first, last = part[0].layer, part[-1].layer
    if first.orientation is None or first.position is None or last.position is None:
        return []
    way = np.subtract(last.position, first.position)
    length = np.linalg.norm(way)
    if length <= _SAME_POSITION:
        return []
    upright = abs(float(normal_of(first.orientation) @ way)) / length
    return ["tilted"] if upright < _UPRIGHT else []


def volume_stacks(header: Header, key: str, plane: Plane | None) -> tuple[Stack, ...]:
    """Cut a volume file into stacks, one for each volume in it (time point, echo, component).

    `Frame.index` is `volume number * slices + slice`: slices are counted in the canonical (RAS+)
    volume, volumes along the axes after the third, the first of these fastest.

    Raises
    ------
    CorruptError
        If the affine is singular.
    """
    volume = header.volume
    if volume is None:
        return ()
    shape = volume.shape
    cut = cut_geometry(np.reshape(volume.affine, (4, 4)), shape, plane)
    count = int(np.prod(shape[3:], dtype=np.int64)) if shape[3:] else 1
    return tuple(_cut_stack(header, volume, cut, _numbered(key, n), n) for n in range(count))


def _cut_stack(header: Header, volume: VolumeGeometry, cut: Cut, key: str, number: int) -> Stack:
    normal = normal_of(cut.orientation)
    normal = normal / np.linalg.norm(normal)
    ends = float(normal @ np.array(cut.origin)), float(normal @ np.array(cut.last))
    along = np.linspace(*ends, cut.frames)
    frames = tuple(
        Frame(header.file, number * cut.frames + index, "", float(position))
        for index, position in zip(cut.order(), along, strict=True)
    )
    way = np.subtract(cut.last, cut.origin)
    upright = cut.frames == 1 or float(normal @ way) > _UPRIGHT * np.linalg.norm(way)
    return Stack(
        key=key,
        kind=header.kind,
        frames=frames,
        rows=cut.rows,
        columns=cut.columns,
        orientation=cut.orientation,
        pixel_spacing=cut.pixel_spacing,
        origin=cut.origin,
        slice_spacing=float(along[1] - along[0]) if cut.frames > 1 else None,
        plane=cut.plane,
        notes=header.notes if upright else (*header.notes, "tilted"),
        last=cut.last,
        qform=_of_frames(volume.qform, cut),
        sform=_of_frames(volume.sform, cut),
        form_codes=volume.codes,
    )


def _of_frames(form: tuple[float, ...], cut: Cut) -> tuple[float, ...]:
    """Affine of a header, taken from voxels to columns, rows and places of the cut's frames."""
    if not form:
        return ()
    placed = np.reshape(form, (4, 4)) @ cut.to_voxel()
    return tuple(float(v) for v in placed.ravel())
