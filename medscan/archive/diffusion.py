"""b-value and direction of the diffusion gradient: standard elements, or those of a vendor."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medscan.archive.values import BROKEN, at, numbers, sequence, text

Gradient = tuple[float | None, float | None, float | None, float | None]
"""b-value in s/mm2, and direction; None where the header has none."""

_B_VALUE, _ORIENTATION = "DiffusionBValue", "DiffusionGradientOrientation"
KEYWORDS = (_B_VALUE, _ORIENTATION, "SequenceName")
_BLOCKS = (0x10, 0x11, 0x12)
"""Private blocks that are searched for a creator."""
_GE_OFFSET = 1e9
"""GE adds it to some b-values."""
_SEQUENCE = re.compile(r"_b(\d{1,6})(?:#(\d{1,4}))?(?!\d)", re.ASCII)
"""Siemens names a sequence *ep_b1000#12: b-value 1000, direction 12."""


class _Private(NamedTuple):
    """Private elements of one block; each holds numbers of 4 ("f") or 8 ("d") bytes, or text."""

    creator: str
    group: int
    elements: tuple[int, ...]
    form: str

    def tags(self) -> Iterator[int]:
        """Tags of the creator and the elements in each block."""
        for block in _BLOCKS:
            yield self.group << 16 | block
            yield from (self.group << 16 | block << 8 | element for element in self.elements)

    def read(self, ds: Dataset) -> list[float]:
        """First numbers of the elements; empty where one is missing."""
        for block in _BLOCKS:
            creator = self.group << 16 | block
            if creator not in ds or _as_text(at(ds, creator)) != self.creator:
                continue
            tags = (self.group << 16 | block << 8 | element for element in self.elements)
            found = [_as_numbers(at(ds, tag), self.form) for tag in tags]
            if all(found):
                return found[0][:3] if len(found) == 1 else [first for first, *_ in found]
        return []


_VENDORS = (
    (
        _Private("SIEMENS MR HEADER", 0x0019, (0x0C,), "d"),
        _Private("SIEMENS MR HEADER", 0x0019, (0x0E,), "d"),
    ),
    (
        _Private("GEMS_PARM_01", 0x0043, (0x39,), "d"),
        _Private("GEMS_ACQU_01", 0x0019, (0xBB, 0xBC, 0xBD), "d"),
    ),
    (
        _Private("Philips Imaging DD 001", 0x2001, (0x03,), "f"),
        _Private("Philips MR Imaging DD 001", 0x2005, (0xB0, 0xB1, 0xB2), "f"),
    ),
    (
        _Private("Image Private Header", 0x0065, (0x09,), "d"),  # United Imaging
        _Private("Image Private Header", 0x0065, (0x37,), "d"),
    ),
)
"""b-value, and direction."""
_TEXT = re.compile(rb"[0-9eE+. \\\0-]*")
TAGS: tuple[int, ...] = tuple(
    sorted({tag for pair in _VENDORS for part in pair for tag in part.tags()})
)
"""Private elements that `diffusion_of` reads."""


def diffusion_of(sources: list[Dataset]) -> Gradient:
    """Read the diffusion gradient of a frame.

    Parameters
    ----------
    sources : list of Dataset
        Its MR Diffusion functional groups, then the object itself.
    """
    inner = [i for ds in sources for i in sequence(ds, "DiffusionGradientDirectionSequence")[:1]]
    b_value = numbers(sources, _B_VALUE, 1)
    direction = numbers([*inner, *sources], _ORIENTATION, 3)
    if b_value or direction:
        return _gradient(b_value or (), direction or ())
    return _private(sources[-1]) or _named(text(sources[-1], "SequenceName"))


def _gradient(b_value: Sequence[float], direction: Sequence[float]) -> Gradient:
    x, y, z = direction if len(direction) == 3 else (None, None, None)
    return (b_value[0] % _GE_OFFSET if b_value else None, x, y, z)


def _private(ds: Dataset) -> Gradient | None:
    for amount, direction in _VENDORS:
        b_value = amount.read(ds)
        if b_value:
            return _gradient(b_value, direction.read(ds))
    return None


def _named(sequence_name: str) -> Gradient:
    """Gradient that a sequence's name tells, its direction as a number in place of x."""
    found = _SEQUENCE.search(sequence_name)
    if found is None:
        return (None, None, None, None)
    return (float(found[1]), float(found[2]) if found[2] else None, None, None)


def _as_numbers(raw: Any, form: str) -> list[float]:
    """Numbers of a private element, which implicit VR and unknown VR leave as bytes."""
    try:
        if isinstance(raw, bytes) and not _TEXT.fullmatch(raw):
            size = struct.calcsize(form)
            raw = struct.unpack(f"<{len(raw) // size}{form}", raw[: len(raw) // size * size])
        elif isinstance(raw, bytes):
            raw = raw.decode("ascii").strip(" \0").split("\\")
        parts = list(raw) if isinstance(raw, (list, tuple, MultiValue)) else [raw]
        found = [float(part) for part in parts if part is not None]
    except BROKEN:
        return []
    return found if all(map(math.isfinite, found)) else []


def _as_text(raw: Any) -> str:
    return (raw.decode("latin-1") if isinstance(raw, bytes) else str(raw or "")).strip(" \0")
