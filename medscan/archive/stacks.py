"""Frames of one series -> stacks, ordered along their normals."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from medscan.archive.divide import Frames, LayerFrame, grouped, volumes
from medscan.archive.geometry import Cut, Vector, cut_geometry, nearest_plane, normal_of
from medscan.archive.header import Header, Layer, VolumeGeometry
from medscan.archive.types import Frame, Kind, Stack
from medscan.choices import Plane
from medscan.text import is_uid

_SAME_DIRECTION = 1e-2
"""Direction cosines of one stack differ by less: half a degree."""
_SAME_SPACING = 1e-2
"""Pixel spacings of one stack differ by less, relatively."""
_SAME_POSITION = 1e-2
"""Positions nearer than this are the same, millimetres; in fine grids, nearer than `_OF_PIXEL`."""
_OF_PIXEL = 2e-2
"""Positions nearer than this are the same where it is less, in pixels."""
_SAME_ECHO = 1e-2
"""Neighbouring echo times of one stack differ by less, relatively."""
_EVEN = 0.05
"""Gaps that differ from their median by less, relatively, are even."""
_UPRIGHT = np.cos(np.deg2rad(1.0))
"""Smallest cosine between the normal and the way from first to last frame of an upright stack."""
_WITHIN_VOLUME = "positions within its own volume, not in the patient"
"""Note on volumes of ultrasound whose place in the patient nothing tells."""
_MANY_FRAMES_OF_REFERENCE = "frame of reference differs from slice to slice"
"""Note on stacks in which it does, against PS3.3 C.7.4.1.1.1."""


def dicom_stacks(headers: Iterable[Header], key: str) -> tuple[Stack, ...]:
    """Divide the frames of one series (or the pages of a picture) into stacks.

    Frames share a stack if they agree in size, label (image type, echo, enhanced stack, view ...),
    echo time, frame of reference, pixel spacing and orientation. Where positions repeat, `divide`
    tells volumes apart. Frames with a position never share a stack with frames without, nor do
    frames of two multi-frame objects that have no positions.

    Frames ascend along row x column direction; without positions they follow instance number,
    path and frame number (SliceLocation has no defined direction and is ignored).

    Parameters
    ----------
    headers : iterable of Header
    key : str
        Key of the first stack; the others append "-2", "-3" ... in order of their first instance.
    """
    frames = sorted((f for header in headers for f in _layer_frames(header)), key=LayerFrame.order)
    alike = [g for group in grouped(frames, _agreement) for g in _split_by_direction(group)]
    echoes = [g for group in alike for g in _split_by_echo(group)]
    groups = [g for e in echoes for g in _split_by_reference(_sort_along_normal(e))]
    parts = [(part, note) for group in groups for part, note in _volumes(group)]
    parts.sort(key=lambda pair: (min(f.order()[0] for f in pair[0]), _tie_breaker(pair[0])))
    return tuple(_stack(part, _numbered(key, n), note) for n, (part, note) in enumerate(parts))


def _volumes(group: Frames) -> list[tuple[Frames, str]]:
    return volumes(group) if _along(group) else [(group, "")]


def _numbered(key: str, n: int) -> str:
    return f"{key}-{n + 1}" if n else key


def _layer_frames(header: Header) -> Frames:
    layers = header.layers
    if len(layers) != header.frames:
        layers = layers[:1] * header.frames
    return [LayerFrame(header, layer, index) for index, layer in enumerate(layers)]


def _agreement(frame: LayerFrame) -> tuple[object, ...]:
    """Everything in which frames of one stack must be exactly equal."""
    layer = frame.layer
    located = layer.position is not None and layer.orientation is not None
    # Without positions, a multi-frame object is a film: two of them are two films.
    film = "" if located or frame.header.frames == 1 else frame.header.file.full
    in_volume = layer.depth_mm is not None
    # Without positions, frontal and lateral radiographs of one series must not share a stack.
    view = located or frame.header.view
    return (layer.rows, layer.columns, layer.label, located, in_volume, film, view)


def _tie_breaker(part: Frames) -> tuple[object, ...]:
    """Order of stacks that start with the same instance number; paths, which may change, last."""
    first = min(part, key=lambda f: (f.place, f.header.sop_instance_uid, f.index))
    layer = first.layer
    return (
        (layer.rows, layer.columns, layer.label, layer.frame_of_reference),
        first.header.view,
        layer.orientation or (),
        layer.spacing or (),
        layer.echo_ms or 0.0,
        layer.dimensions,
        [(cue is None, cue or 0.0) for cue in layer.phase],
        first.header.sop_instance_uid,
        first.index,
        first.order(),
    )


def _split_by_direction(group: Frames) -> list[Frames]:
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
    equals = grouped(group, lambda f: (f.layer.orientation or (), f.layer.spacing or ()))
    equals.sort(key=lambda alike: (alike[0].layer.orientation or (), alike[0].layer.spacing or ()))
    parts: list[Frames] = []
    for alike in equals:
        near = next((p for p in parts if same(p[0].layer, alike[0].layer)), None)
        if near is None:
            parts.append(alike)
        else:
            near.extend(alike)
    return parts


def _split_by_echo(group: Frames) -> list[Frames]:
    """Divide frames by echo time, which scanners state with rounding errors."""
    number: dict[float | None, int] = {None: 0}
    last = 0.0
    for echo in sorted({f.layer.echo_ms for f in group if f.layer.echo_ms is not None}):
        far = echo - last > _SAME_ECHO * abs(echo) or len(number) == 1
        number[echo] = max(number.values()) + far
        last = echo
    return grouped(group, lambda f: number[f.layer.echo_ms])


def _split_by_reference(group: Frames) -> list[Frames]:
    """Divide frames by frame of reference, unless no two places share one.

    Positions in different frames of reference do not compare; but a series has only one (PS3.3
    C.7.4.1.1.1), and software that makes up a new one for each file means nothing by it.
    """
    parts = grouped(group, lambda f: f.layer.frame_of_reference)
    located = group[0].layer.position is not None
    apart = located and all(len({f.place for f in part}) == 1 for part in parts)
    return [group] if apart and len({f.place for f in group}) > 1 else parts


def same_position_mm(layer: Layer) -> float:
    """Distance below which two positions of frames like this are the same, millimetres."""
    pixel = min(layer.spacing) if layer.spacing else np.inf
    return float(min(_SAME_POSITION, _OF_PIXEL * pixel))


def _sort_along_normal(group: Frames) -> Frames:
    """Order frames by their positions along their common normal."""
    first, along = group[0].layer, _along(group)
    if not along:
        return sorted(group, key=LayerFrame.order)
    ordered = sorted(zip(along, group, strict=True), key=lambda pair: pair[0])
    # Equal positions may differ in their last digits: number the places, then sort within each.
    steps = np.diff([position for position, _ in ordered]) > same_position_mm(first)
    places = np.cumsum([0, *steps]).tolist()
    frames = [
        LayerFrame(f.header, f.layer, f.index, position, place)
        for place, (position, f) in zip(places, ordered, strict=True)
    ]
    return sorted(frames, key=lambda f: (f.place, f.order()))


def _along(group: Frames) -> list[float]:
    """Positions of frames along their common normal, millimetres; empty if they are not known."""
    first = group[0].layer
    if first.position is not None and first.orientation is not None:
        normal = normal_of(first.orientation)
        return [float(normal @ np.array(f.layer.position)) for f in group]
    depths = [f.layer.depth_mm for f in group]
    return [] if None in depths else [d for d in depths if d is not None]


def _stack(part: Frames, key: str, note: str) -> Stack:
    first = part[0].layer
    placed = bool(_along(part[:1]))
    distances = np.diff([f.along for f in part]) if placed else np.empty(0)
    frames = tuple(
        Frame(f.header.file, f.index, f.header.sop_instance_uid, f.along if placed else None)
        for f in part
    )
    spread = bool(distances.size) and distances.max() > same_position_mm(first)
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
        notes=tuple(_notes(part, distances, note)) if part[0].header.kind is Kind.DICOM else (),
        last=part[-1].layer.position,
        facts={**part[0].header.facts, **first.facts},
        frame_of_reference=_reference(part),
    )


def _reference(part: Frames) -> str:
    """The frame of reference that all frames state; empty where it is no UID."""
    stated = {f.layer.frame_of_reference for f in part}
    return next(iter(stated)) if len(stated) == 1 and all(map(is_uid, stated)) else ""


def _plane(frame: LayerFrame) -> Plane | None:
    orientation, view = frame.layer.orientation, frame.header.view
    if orientation is not None:
        return nearest_plane(orientation)
    return Plane(view) if view else None


def _notes(part: Frames, distances: Vector, note: str) -> list[str]:
    first = part[0].layer
    notes = sorted({text for frame in part for text in frame.header.notes})
    if not _along(part[:1]):
        return [*notes, "no position"]
    notes += [_WITHIN_VOLUME] if first.depth_mm is not None else []
    notes += [note] if note else []
    if len({f.layer.frame_of_reference for f in part}) > 1:
        notes.append(_MANY_FRAMES_OF_REFERENCE)
    same = same_position_mm(first)
    if distances.size and distances.max() <= same:
        return [*notes, "repeated position"]
    return [*notes, *_uneven(distances, same), *_tilted(part, same)]


def _uneven(distances: Vector, same: float) -> list[str]:
    """Note uneven gaps; if each is a multiple of the usual gap, slices are missing there."""
    if distances.size < 2:
        return []
    median = np.median(distances)
    usual = median if np.isclose(distances, median, rtol=_EVEN).any() else distances.min()
    odd = distances[np.abs(distances - usual) > max(_EVEN * usual, same)]
    if not odd.size:
        return []
    fits = np.abs(odd / usual - np.round(odd / usual)) < _EVEN
    missing = bool(np.all(fits & (odd > 1.5 * usual)))
    return ["missing slices" if missing else "uneven spacing"]


def _tilted(part: Frames, same: float) -> list[str]:
    first, last = part[0].layer, part[-1].layer
    if first.orientation is None or first.position is None or last.position is None:
        return []
    way = np.subtract(last.position, first.position)
    length = np.linalg.norm(way)
    if length <= same:
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
        facts=header.facts,
    )


def _of_frames(form: tuple[float, ...], cut: Cut) -> tuple[float, ...]:
    """Affine of a header, taken from voxels to columns, rows and places of the cut's frames."""
    if not form:
        return ()
    placed = np.reshape(form, (4, 4)) @ cut.to_voxel()
    return tuple(float(v) for v in placed.ravel())
