"""Frames of one series -> stacks of frames that lie on one another, in their order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from medscan.archive.geometry import Cut, Vector, cut_geometry, nearest_plane, normal_of
from medscan.archive.header import Header, Layer
from medscan.archive.types import Frame, Kind, Stack
from medscan.choices import Plane

T = TypeVar("T")

_SAME_DIRECTION = 1e-2
"""Direction cosines of one stack differ by less: half a degree."""
_SAME_SPACING = 1e-2
"""Pixel spacings of one stack differ by less, relative."""
_SAME_POSITION = 1e-2
"""Positions nearer than this are the same, millimetres."""
_EVEN = 0.05
"""Gaps that differ by less from their median, relative, are even."""
_UPRIGHT = np.cos(np.deg2rad(1.0))
_LAST = 2**62


@dataclass(frozen=True, slots=True)
class Placed:
    """A frame with what its header says of it."""

    header: Header
    layer: Layer
    index: int
    along: float = 0.0

    def order(self) -> tuple[int, str, str, int]:
        """Where no position tells: instance number, then path, then frame number."""
        number = self.header.instance_number
        file = self.header.file
        return (_LAST if number is None else number, file.path, str(file.root), self.index)


def dicom_stacks(headers: Iterable[Header], key: str) -> tuple[Stack, ...]:
    """Divide the frames of one series (or the pages of a picture) into stacks.

    Frames share a stack if they agree in size, label (frame of reference, image type, echo,
    enhanced stack), pixel spacing and orientation. Where a position is taken more than once, time
    divides them, and where that is not told, the order of acquisition. Frames without a position
    and frames with one never share a stack, nor do those of two multi-frame objects without.

    Frames ascend along row x column direction; without positions they follow instance number,
    path and frame number (SliceLocation has no defined direction, so it is not asked).

    Parameters
    ----------
    headers : iterable of Header
    key : str
        Of the first stack; the others append "-2", "-3" ... in order of their first instance.
    """
    frames = sorted((p for header in headers for p in _placed(header)), key=Placed.order)
    groups = [g for alike in _by(frames, _agreement) for g in _by_direction(alike)]
    found = [part for group in groups for part in _by_phase(_along(group))]
    found.sort(key=lambda part: (min(p.order()[0] for p in part), _identity(part)))
    return tuple(_stack(part, _numbered(key, n)) for n, part in enumerate(found))


def _numbered(key: str, n: int) -> str:
    return f"{key}-{n + 1}" if n else key


def _placed(header: Header) -> list[Placed]:
    layers = header.layers
    if len(layers) != header.frames:
        layers = layers[:1] * header.frames
    return [Placed(header, layer, index) for index, layer in enumerate(layers)]


def _by(items: Sequence[T], key: Callable[[T], object]) -> list[list[T]]:
    """Group items, keeping their order."""
    groups: defaultdict[object, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


def _agreement(p: Placed) -> tuple[object, ...]:
    layer = p.layer
    located = layer.position is not None and layer.orientation is not None
    # Without positions, a multi-frame object is a film: two of them are two films.
    film = "" if located or p.header.frames == 1 else p.header.file.full
    # Frontal and lateral films of one series are no stack.
    return (layer.rows, layer.columns, layer.label, located, film, located or p.header.view)


def _identity(part: list[Placed]) -> tuple[object, ...]:
    """What sets stacks apart that start with the same instance number: paths come last."""
    first = min(part, key=lambda p: (p.header.sop_instance_uid, p.index))
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


def _by_direction(group: list[Placed]) -> list[list[Placed]]:
    """Divide frames by orientation and pixel spacing, within a tolerance."""

    def same(a: Layer, b: Layer) -> bool:
        if (a.orientation is None) != (b.orientation is None):
            return False
        turned = np.abs(np.subtract(a.orientation or 0.0, b.orientation or 0.0)).max()
        if (a.spacing is None) != (b.spacing is None):
            return False
        ratio = np.divide(a.spacing or 1.0, b.spacing or 1.0)
        return bool(turned < _SAME_DIRECTION and np.abs(ratio - 1).max() < _SAME_SPACING)

    kinds = _by(group, lambda p: (p.layer.orientation or (), p.layer.spacing or ()))
    kinds.sort(key=lambda kind: (kind[0].layer.orientation or (), kind[0].layer.spacing or ()))
    found: list[list[Placed]] = []
    for kind in kinds:
        home = next((g for g in found if same(g[0].layer, kind[0].layer)), None)
        if home is None:
            found.append(kind)
        else:
            home.extend(kind)
    return found


def _along(group: list[Placed]) -> list[Placed]:
    """Order frames by their position along the normal that they share."""
    first = group[0].layer
    if first.orientation is None or first.position is None:
        return sorted(group, key=Placed.order)
    normal = normal_of(first.orientation)
    placed = [
        Placed(p.header, p.layer, p.index, float(normal @ np.array(p.layer.position)))
        for p in group
    ]
    placed.sort(key=lambda p: p.along)
    # Equal positions differ in their last digits: ties are broken within a run of them.
    runs = np.cumsum([0, *(np.diff([p.along for p in placed]) > _SAME_POSITION)])
    return [
        p for _, p in sorted(zip(runs, placed, strict=True), key=lambda r: (r[0], r[1].order()))
    ]


def _runs(group: list[Placed]) -> list[list[Placed]]:
    """Neighbours of an ordered group that lie in the same place."""
    runs: list[list[Placed]] = []
    for p in group:
        if runs and p.along - runs[-1][-1].along <= _SAME_POSITION:
            runs[-1].append(p)
        else:
            runs.append([p])
    return runs


def _by_phase(group: list[Placed], phase: int = 0) -> list[list[Placed]]:
    """Divide an ordered group so that no position is taken twice in a part.

    A group that never leaves one position is a film, not a volume: it stays together.
    """
    if group[0].layer.position is None:
        return [group]
    runs = _runs(group)
    repeats = max(len(run) for run in runs)
    if repeats == 1 or len(runs) == 1:
        return [group]
    for n in range(phase, max(len(p.layer.phase) for p in group)):
        parts = _by(group, lambda p, n=n: p.layer.phase[n : n + 1])  # type: ignore[misc]
        # A tag that counts slices rather than repeats would tear the volumes apart.
        if 1 < len(parts) <= repeats:
            return [final for part in parts for final in _by_phase(part, n + 1)]
    return [[run[k] for run in runs if k < len(run)] for k in range(repeats)]


def _stack(part: list[Placed], key: str) -> Stack:
    first = part[0].layer
    located = first.position is not None and first.orientation is not None
    distances = np.diff([p.along for p in part]) if located else np.empty(0)
    frames = tuple(
        Frame(p.header.file, p.index, p.header.sop_instance_uid, p.along if located else None)
        for p in part
    )
    apart = bool(distances.size) and distances.max() > _SAME_POSITION
    return Stack(
        key=key,
        kind=part[0].header.kind,
        frames=frames,
        rows=first.rows,
        columns=first.columns,
        orientation=first.orientation,
        pixel_spacing=first.spacing,
        origin=first.position,
        slice_spacing=float(np.median(distances)) if apart else None,
        plane=_plane(part[0]),
        notes=tuple(_notes(part, distances)) if part[0].header.kind is Kind.DICOM else (),
        last=part[-1].layer.position,
    )


def _plane(placed: Placed) -> Plane | None:
    turn, view = placed.layer.orientation, placed.header.view
    if turn is not None:
        return nearest_plane(turn)
    return Plane(view) if view else None


def _notes(part: list[Placed], distances: Vector) -> list[str]:
    notes = sorted({note for p in part for note in p.header.notes})
    if part[0].layer.position is None or part[0].layer.orientation is None:
        return [*notes, "no position"]
    if distances.size and distances.max() <= _SAME_POSITION:
        return [*notes, "repeated position"]
    return [*notes, *_uneven(distances), *_tilted(part)]


def _uneven(distances: Vector) -> list[str]:
    """Name gaps that are unlike the others; one that others fit into is a gap of missing slices."""
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


def _tilted(part: list[Placed]) -> list[str]:
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
    """Cut a volume file: a stack for each volume in it (time point, echo, component).

    `Frame.index` is `number of the volume * slices + slice`, the slice counted in the canonical
    (RAS+) volume and the volumes along the axes after the third, the first of them fastest.

    Raises
    ------
    CorruptError
        Its affine is singular.
    """
    if header.volume is None:
        return ()
    shape = header.volume.shape
    cut = cut_geometry(np.reshape(header.volume.affine, (4, 4)), shape, plane)
    count = int(np.prod(shape[3:], dtype=np.int64)) if shape[3:] else 1
    return tuple(_cut_stack(header, cut, _numbered(key, n), n) for n in range(count))


def _cut_stack(header: Header, cut: Cut, key: str, number: int) -> Stack:
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
    )
