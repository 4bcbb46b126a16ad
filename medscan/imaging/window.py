"""Intensities -> grey: the window rules of detectors, measured once for a stack."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medscan.archive import Kind, Stack
from medscan.decoding import PixelPlane, Voi, lookup
from medscan.errors import FileError, UsageError
from medscan.imaging.read import KeptPlanes, read_planes
from medscan.imaging.types import Window
from medscan.text import printable

MEASURED_FRAMES = 24
MEASURED_SIDE = 512
"""Most frames, rows and columns that are measured, spread evenly and symmetrically."""

FLAT = 0.02
"""A slice whose grey values span less than this is background."""
DARK = 0.05
LIT_FRACTION = 0.01
BRIGHT = 0.25
SPOT = 9
"""So is a slice of which less than `LIT_FRACTION` is brighter than `DARK`, unless `SPOT` pixels are
brighter than `BRIGHT`: noise beyond the head or feet stays far below."""
FAINT = 0.1
KEPT = 0.02
"""A header's window is not used on a slice whose grey values would span less than `FAINT` of the
scale, or where less than `KEPT` of what lies between black and white without it still does with
it."""
JUDGED_SIDE = 256
"""Most rows and columns, spread evenly, by which that is judged."""

_CT = Window(-160.0, 240.0)
"""Soft tissue, Hounsfield units."""
_VOI_MODALITIES = frozenset(
    ("CR", "DG", "DX", "ES", "GM", "IO", "MG", "OP", "OT", "PX", "RF", "SC", "SM", "US", "XA", "XC")
)
"""Modalities of projections, ultrasound and photographs, for which "auto" means "voi"."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A parsed window rule: its name and, for some, two numbers."""

    name: str
    low: float = 0.0
    high: float = 0.0


_PERCENTILE = Rule("percentile", 1.0, 99.5)
ReadPlanes = Callable[[list[int]], Iterator[PixelPlane | FileError]]
"""Reads the planes of a stack with these indices, in their order."""


def parse_rule(text: str) -> Rule:
    """Parse "auto", "full", "voi", "percentile:LOW,HIGH" or "window:LOW,HIGH".

    Raises
    ------
    UsageError
        If the text is not one of these, or LOW is not below HIGH.
    """
    name, _, numbers = text.strip().partition(":")
    if name in ("auto", "full", "voi") and not numbers:
        return Rule(name)
    try:
        low, high = (float(part) for part in numbers.split(","))
    except ValueError:
        low = high = math.nan
    within = name == "window" or (name == "percentile" and low >= 0 and high <= 100)
    if not (within and low < high and math.isfinite(high - low)):
        raise UsageError(
            f"window rule {printable(text, 80)!r} is not one of auto, full, voi, "
            "percentile:LOW,HIGH (such as percentile:1,99.5), window:LOW,HIGH (such as "
            "window:-160,240)"
        )
    return Rule(name, low, high)


def measure(
    stack: Stack,
    rule: Rule | str,
    modality: str,
    max_file_bytes: int,
    kept: KeptPlanes | None = None,
) -> Window:
    """Measure the window of a stack by a rule; explicit windows need no pixels.

    "auto" is, for CT, the first frame's window in the header, else -160 to 240, or measured where
    all of the stack lies outside of that; for radiographs, ultrasound and other projections "voi";
    for pictures of 8 bits 0 to 255; for all else percentile:1,99.5. A reversed or mirrored stack
    gives the same result, so that a DICOM series and a NIfTI made from it agree.

    Parameters
    ----------
    stack : Stack
    rule : Rule or str
    modality : str
        As in DICOM; empty when unknown.
    max_file_bytes : int
        See `read_planes`.
    kept : KeptPlanes, optional
        Receives the planes that were read, so that `render` need not read them again.

    Raises
    ------
    UsageError
        If the rule cannot be parsed.
    FileError
        If no frame of the sample can be read: the error of the first.
    """

    def read(indices: list[int]) -> Iterator[PixelPlane | FileError]:
        frames = [stack.frames[i] for i in indices]
        for frame, plane in zip(frames, read_planes(stack, frames, max_file_bytes), strict=True):
            if kept is not None and isinstance(plane, PixelPlane):
                kept.keep(frame, plane)
            yield plane

    picture = stack.kind is Kind.PICTURE
    return measure_planes(read, len(stack.frames), rule, modality, picture=picture)


def measure_planes(
    read: ReadPlanes, count: int, rule: Rule | str, modality: str, *, picture: bool = False
) -> Window:
    """Measure the window of `count` planes as `measure` does that of a stack.

    Parameters
    ----------
    read : callable
        See `ReadPlanes`.
    count : int
    rule : Rule or str
    modality : str
    picture : bool
        Whether "auto" shows 8 bits as 0 to 255.
    """
    rule = parse_rule(rule) if isinstance(rule, str) else rule
    if rule.name == "window":
        return Window(rule.low, rule.high)
    if rule.name == "auto" and modality == "CT":
        return _ct_window(read, count)
    by_encoding = rule.name == "voi" or (rule.name == "auto" and picture)
    if rule.name == "auto":
        by_encoding = by_encoding or modality in _VOI_MODALITIES
        rule = Rule("voi") if modality in _VOI_MODALITIES else _PERCENTILE
    samples, white = _samples(read, count)
    voi = rule.name == "voi"
    if white is not None and (by_encoding or not samples.size):
        return Window(0.0, white, voi)
    ends = {"full": Rule("", 0.0, 100.0), "voi": _PERCENTILE}.get(rule.name, rule)
    low, high = np.percentile(samples, (ends.low, ends.high), overwrite_input=True)
    return Window(float(low), float(high), voi)


def apply_window(plane: PixelPlane, window: Window) -> NDArray[np.float32]:
    """Map a plane to grey: window or VOI LUT, then MONOCHROME1's inversion (PS3.3 C.7.6.3.1.2).

    Returns
    -------
    float32 (rows, columns) or (rows, columns, 3)
        Grey or RGB in [0, 1]; colour is not windowed.
    """
    values = plane.pixels
    if plane.colour:
        colour: NDArray[np.float32] = np.clip(values / np.float32(255.0), 0.0, 1.0)
        return colour
    if window.voi and plane.voi is not None:
        grey = _apply_voi(values, plane.voi)
    else:
        low, high = window.header or (window.low, window.high)
        width = max(high - low, float(np.finfo(np.float32).tiny))
        grey = values.astype(np.float64)
        grey -= low
        grey /= width
    np.clip(grey, 0.0, 1.0, out=grey)
    if plane.inverted:
        np.subtract(1.0, grey, out=grey)
    grey[np.isnan(grey)] = 0.0
    return grey.astype(np.float32)


def even_indices(count: int, most: int) -> NDArray[np.intp]:
    """Spread at most `most` (an even number) of `count` indices evenly and symmetrically."""
    if count <= most:
        return np.arange(count)
    lower = np.floor(np.arange(most // 2) * (count - 1) / (most - 1) + 0.5).astype(np.intp)
    return np.concatenate([lower, count - 1 - lower[::-1]])


def _apply_voi(values: NDArray[np.float32], voi: Voi) -> NDArray[np.float64]:
    """VOI LUT or window function (PS3.3 C.11.2.1.2, C.11.2.1.3) as grey, not yet clipped."""
    if voi.table is not None:
        return lookup(values, voi.first, voi.table).astype(np.float64)
    from_center = values.astype(np.float64) - voi.center
    if voi.function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * from_center / voi.width, -500.0, 500.0)))
    if voi.function == "LINEAR_EXACT":
        return from_center / voi.width + 0.5
    if voi.width <= 1.0:
        return (from_center > -0.5).astype(np.float64)
    return (from_center + 0.5) / (voi.width - 1.0) + 0.5


def seen_ends(plane: PixelPlane, window: Window) -> tuple[float, float]:
    """Values of a plane that `apply_window` maps to 0 and 1; of a table, those without it."""
    if plane.colour:
        return 0.0, 255.0
    own = linear_ends(plane.voi) if window.voi else None
    return own or window.header or (window.low, window.high)


def is_background(plane: PixelPlane, window: Window) -> bool:
    """Whether a plane shows no anatomy in its stack's window without what the header says."""
    black, white = (0.0, 255.0) if plane.colour else (window.low, window.high)
    values = plane.pixels.max(axis=2) if plane.colour else plane.pixels
    if plane.inverted:
        values, black, white = -values, -white, -black
    width = max(white - black, float(np.finfo(np.float32).tiny))
    ends = np.array([values.min(), values.max()], np.float64)
    span = np.ptp(np.clip((ends - black) / width, 0.0, 1.0))
    if span < FLAT:
        return True
    lit = np.count_nonzero(values > black + DARK * width)
    if lit / values.size >= LIT_FRACTION:
        return False
    return bool(np.count_nonzero(values > black + BRIGHT * width) < SPOT)


def show(plane: PixelPlane, window: Window) -> tuple[NDArray[np.float32], bool, bool]:
    """Map a plane to grey as `apply_window`, but without a header that would draw contrast flat.

    Returns
    -------
    (float32 (rows, columns[, 3]), bool, bool)
        Grey or RGB in [0, 1]; whether it is background; whether what its header says is not used.
    """
    background, shown = is_background(plane, window), apply_window(plane, window)
    flat = not background and _header_flattens(plane, window, shown)
    if flat:
        shown = apply_window(plane, window.measured)
    return shown, background, flat or plane.header_unused


def _header_flattens(plane: PixelPlane, window: Window, shown: NDArray[np.float32]) -> bool:
    """Whether a header's window, by which a plane is `shown`, hides the contrast that it has."""
    if plane.colour or not (window.header or (window.voi and plane.voi)):
        return False
    sample = np.ix_(*(even_indices(count, JUDGED_SIDE) for count in shown.shape))
    values, grey = plane.pixels[sample], shown[sample]
    within = (values > window.low) & (values < window.high)
    kept = np.count_nonzero(within & (grey > 0) & (grey < 1))
    return bool(np.ptp(grey) < FAINT or kept < KEPT * np.count_nonzero(within))


def _ct_window(read: ReadPlanes, count: int) -> Window:
    """Window of the first readable frame's header over that of soft tissue.

    Values that are no Hounsfield units, such as those of a micro-CT, may all lie outside of soft
    tissue: then the window below is measured.
    """
    header: tuple[float, float] | None = None
    samples: list[NDArray[np.float32]] = []
    for plane in _sample_planes(read, count, from_the_middle=True):
        if not samples:
            header = linear_ends(plane.voi)
        if not is_background(plane, _CT):
            return Window(_CT.low, _CT.high, header=header)
        samples.append(_sample(plane))
    values = np.concatenate(samples)
    if not values.size:  # colour
        return _CT
    ends = (_PERCENTILE.low, _PERCENTILE.high)
    low, high = np.percentile(values, ends, overwrite_input=True)
    return Window(float(low), float(high), header=header)


def linear_ends(voi: Voi | None) -> tuple[float, float] | None:
    """Black and white of a linear window in the header; None for tables and single steps."""
    if voi is None or voi.table is not None or voi.width <= 1.0:
        return None
    # Half a unit off the centre, one off the width (PS3.3 C.11.2.1.2.1).
    shift, width = (0.5, voi.width - 1.0) if voi.function == "LINEAR" else (0.0, voi.width)
    return voi.center - shift - width / 2, voi.center - shift + width / 2


def _sample_planes(
    read: ReadPlanes, count: int, *, from_the_middle: bool = False
) -> Iterator[PixelPlane]:
    """Planes of a sample of them, without those that cannot be read.

    `from_the_middle`, the first comes first, and the others follow from the middle outwards.
    """
    failure: FileError | None = None
    any_readable = False
    indices: list[int] = even_indices(count, MEASURED_FRAMES).tolist()
    if from_the_middle:
        middle = len(indices) // 2
        others = sorted(range(1, len(indices)), key=lambda n: abs(n - middle))
        indices = [indices[n] for n in (0, *others)]
    for plane in read(indices):
        if isinstance(plane, FileError):
            failure = failure or plane
            continue
        any_readable = True
        yield plane
    if failure is not None and not any_readable:
        raise failure


def _samples(read: ReadPlanes, count: int) -> tuple[NDArray[np.float32], float | None]:
    """Grey values of a sample of pixels, and the value that every encoding shows as white."""
    values: list[NDArray[np.float32]] = [np.zeros(0, dtype=np.float32)]
    white: set[float | None] = set()
    for plane in _sample_planes(read, count):
        white.add(plane.white)
        values.append(_sample(plane))
    return np.concatenate(values), white.pop() if len(white) == 1 else None


def _sample(plane: PixelPlane) -> NDArray[np.float32]:
    """Grey values of pixels spread evenly over a plane; none of a colour plane."""
    if plane.colour:
        return np.zeros(0, dtype=np.float32)
    if max(plane.pixels.shape) <= MEASURED_SIDE:
        return plane.pixels.ravel()
    rows, columns = (even_indices(n, MEASURED_SIDE) for n in plane.pixels.shape)
    return plane.pixels[np.ix_(rows, columns)].ravel()
