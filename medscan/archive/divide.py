"""Frames at repeated positions -> volumes, told apart by what headers mean.

A cue (see `cues`) tells volumes apart if each of its values has every position once, or several
values have some positions once and the rest a later cue divides. A cue that counts slices, such as
an acquisition number of each of them, does not. Only where no cue helps does the order of the
frames decide.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from medscan.archive.cues import CUES, Scale
from medscan.archive.geometry import Vector
from medscan.archive.header import Header, Layer

T = TypeVar("T")
Value = float | None

BY_ORDER = "volumes told apart by their order alone"
"""Note on volumes whose frames no cue tells apart, where some positions have fewer frames."""
_EVEN = 0.05
"""Gaps that differ by less, relatively, are even."""
_ROUNDING = 1e-3
"""Measures that differ by less, relative to themselves or to 1, are equal."""
_LAST = 2**62
"""Stands for a missing instance number: such frames come last."""


@dataclass(frozen=True, slots=True)
class LayerFrame:
    """A frame with its layer, and where it lies in its group.

    Parameters
    ----------
    header : Header
    layer : Layer
    index : int
        Number of the frame in its file, from 0.
    along : float
        Position along the normal of the group, millimetres.
    place : int
        Number of that position, from 0; frames at the same position share it.
    """

    header: Header
    layer: Layer
    index: int
    along: float = 0.0
    place: int = 0

    def order(self) -> tuple[int, str, str, int]:
        """Order of frames without positions: instance number, then path, then frame number."""
        number = self.header.instance_number
        file = self.header.file
        return (_LAST if number is None else number, file.path, str(file.root), self.index)


Frames = list[LayerFrame]


def grouped(items: Sequence[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """Group items by a key, keeping their order."""
    groups: defaultdict[Hashable, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


def volumes(group: Frames) -> list[tuple[Frames, str]]:
    """Divide an ordered group so that no part has a position twice.

    A group at a single position is a film, not a volume: it stays together.

    Returns
    -------
    list of (list of LayerFrame, str)
        Parts, each with a note or an empty string.
    """
    repeats = _repeats(group)
    if repeats == 1 or len({f.place for f in group}) == 1:
        return [(part, "") for part in _interleaved(group)]
    for cue in _cues(group):
        parts = cue.parts(group, repeats)
        if len(parts) > 1:
            return [volume for part in parts for volume in volumes(part)]
    return _by_number(group, repeats) or _by_order(group, repeats)


def _interleaved(group: Frames) -> list[Frames]:
    """Parts of an uneven group that are even stacks of their own, one between another's slices."""
    if _is_even(group):
        return [group]
    for cue in _cues(group):
        parts = cue.kinds(group)
        lower, upper = zip(*((part[0].along, part[-1].along) for part in parts), strict=True)
        if len(parts) > 1 and max(lower) < min(upper) and all(map(_is_even, parts)):
            return parts
    return [group]


def _is_even(part: Frames) -> bool:
    """Whether a part has the same gap between all of its slices; not of fewer than three."""
    gaps = np.diff([f.along for f in part])
    return gaps.size > 1 and bool(np.ptp(gaps) <= _EVEN * gaps.min())


def _repeats(group: Frames) -> int:
    return max(Counter(f.place for f in group).values())


@dataclass(frozen=True, slots=True)
class _Divider:
    """Values of one cue for the frames of a group."""

    scale: Scale
    values: list[Value]

    def parts(self, group: Frames, repeats: int) -> list[Frames]:
        """Parts of a group by these values; none where they do not tell volumes apart."""
        parts = self.kinds(group)
        if len(parts) < 2:
            return []
        count = sum(_repeats(part) for part in parts)
        if count == repeats:
            return parts
        if self.scale is Scale.TIME:
            return _in_sequence(group, self.values, repeats)
        # Every position may have lost a frame: more than half of each volume must be there.
        places = len({f.place for f in group})
        return parts if 2 * len(group) > count * places else []

    def kinds(self, group: Frames) -> list[Frames]:
        """Parts of a group with equal values."""
        values = _rounded(self.values) if self.scale is Scale.MEASURE else self.values
        paired = list(zip(group, values, strict=True))
        return [[f for f, _ in part] for part in grouped(paired, lambda pair: pair[1])]


def _cues(group: Frames) -> Iterator[_Divider]:
    """What may tell volumes apart: dimensions, cues, then the files of multi-frame objects."""
    layers = [f.layer for f in group]
    for n in range(max(len(layer.dimensions) for layer in layers)):
        yield _Divider(Scale.COUNT, [_item(layer.dimensions, n) for layer in layers])
    for n in range(max(len(layer.phase) for layer in layers)):
        yield _Divider(CUES[n].scale, [_item(layer.phase, n) for layer in layers])
    films = sorted({f.header.file for f in group if f.header.frames > 1})
    if films:
        number = {file: float(n) for n, file in enumerate(films)}
        yield _Divider(Scale.COUNT, [number.get(f.header.file) for f in group])


def _item(values: Sequence[Value], n: int) -> Value:
    return values[n] if n < len(values) else None


def _rounded(values: list[Value]) -> list[Value]:
    """Values with the smallest of those nearly equal in place of each."""
    stands: dict[Value, Value] = {None: None}
    last: float | None = None
    for value in sorted({v for v in values if v is not None}):
        near = last is not None and value - last <= _ROUNDING * max(1.0, abs(value))
        stands[value] = stands[last] if near else value
        last = value
    return [stands[value] for value in values]


def _in_sequence(group: Frames, values: list[Value], repeats: int) -> list[Frames]:
    """Volumes one after another in time; none if they are not."""
    known = [value for value in values if value is not None]
    if len(known) < len(group):
        return []
    timed = sorted(zip(known, group, strict=True), key=lambda pair: (pair[0], pair[1].place))
    frames = [f for _, f in timed]
    leaps = np.diff([value for value, _ in timed])
    cuts = _cuts([f.place for f in frames], leaps)
    if len(cuts) != repeats - 1 or any(leaps[cut - 1] <= 0 for cut in cuts):
        return []
    parts = [frames[a:b] for a, b in pairwise([0, *cuts, len(frames)])]
    if any(_repeats(part) > 1 for part in parts):
        return []
    return [sorted(part, key=lambda f: f.place) for part in parts]


def _cuts(places: list[int], leaps: Vector) -> list[int]:
    """Where to cut frames in order of time, so that no part has a place twice.

    A lost slice leaves a choice: among the longest leaps in time, the cut is at the longest leap
    in space, which is where an ordered acquisition starts again.
    """
    latest = _repeated(places)
    earliest = [len(places) - n for n in reversed(_repeated(places[::-1]))]
    if len(latest) != len(earliest):
        return []
    back = np.abs(np.diff(places))
    cuts: list[int] = []
    for first, last in zip(earliest, latest, strict=True):
        window = np.arange(first, last + 1)
        long = window[2 * leaps[window - 1] > leaps[window - 1].max()]
        if not long.size:
            return []
        cuts.append(int(long[np.argmax(back[long - 1])]))
    return cuts


def _repeated(places: list[int]) -> list[int]:
    """Indices at which a place repeats, counted from the index before."""
    starts, seen = [], set[int]()
    for n, place in enumerate(places):
        if place in seen:
            starts.append(n)
            seen.clear()
        seen.add(place)
    return starts


def _by_number(group: Frames, repeats: int) -> list[tuple[Frames, str]]:
    """Volumes by instance numbers that count slices in volumes, or volumes at each slice.

    A lost slice leaves a gap in such numbers, so that the others stay in their volumes.
    """
    numbers = [f.header.instance_number for f in group]
    known = [n for n in numbers if n is not None]
    if len(set(known)) < len(group):
        return []
    places = [f.place for f in group]
    # Numbers start at 1, or at any other number if that of the first slice is there.
    for base in sorted({min(known), min(1, min(known))}):
        for length, slices_inside in ((len(set(places)), True), (repeats, False)):
            outer, inner = zip(*(divmod(n - base, length) for n in known), strict=True)
            slices, which = (inner, outer) if slices_inside else (outer, inner)
            if len(set(zip(slices, places, strict=True))) == len(set(slices)) == len(set(places)):
                pairs = list(zip(group, which, strict=True))
                return [([f for f, _ in part], "") for part in grouped(pairs, lambda p: p[1])]
    return []


def _by_order(group: Frames, repeats: int) -> list[tuple[Frames, str]]:
    """The first frames of each position, then the second ones, and so on."""
    runs = grouped(group, lambda f: f.place)
    note = BY_ORDER if any(len(run) != repeats for run in runs) else ""
    return [([run[k] for run in runs if k < len(run)], note) for k in range(repeats)]
