"""Frames -> slices: read, windowed and drawn, for scans and fitting alike."""

from __future__ import annotations

from collections.abc import Sequence

from medscan.archive import Frame, Stack
from medscan.decoding import PixelPlane
from medscan.errors import FileError
from medscan.imaging.letterbox import Letterbox
from medscan.imaging.packed import pack
from medscan.imaging.read import KeptPlanes, read_planes
from medscan.imaging.types import Slice, Window
from medscan.imaging.window import linear_ends, seen_ends, show


def render(
    stack: Stack,
    frames: Sequence[Frame],
    size: int,
    window: Window,
    max_file_bytes: int,
    kept: KeptPlanes | None = None,
    *,
    packs: bool = False,
) -> list[Slice | FileError]:
    """Read, window and draw frames of a stack.

    Parameters
    ----------
    stack : Stack
    frames : sequence of Frame
        Some of its frames, in any order.
    size : int
        Side of the model's square, pixels.
    window : Window
        Window of the whole stack, from `measure`.
    max_file_bytes : int
    kept : KeptPlanes, optional
        See `read_planes`.
    packs : bool
        Whether each slice gets its own pixels as well.

    Returns
    -------
    list of Slice or FileError
        One for each frame, in their order.
    """
    letterbox = Letterbox.of(stack, size)
    return [
        plane
        if isinstance(plane, FileError)
        else render_plane(plane, window, letterbox, packs=packs)
        for plane in read_planes(stack, frames, max_file_bytes, kept)
    ]


def render_plane(
    plane: PixelPlane, window: Window, letterbox: Letterbox, *, packs: bool = False
) -> Slice:
    """Window a plane and draw it on its square.

    Whether it is background does not depend on its header. Contrast that the header's window would
    draw flat is drawn in the window that the stack has without it.
    """
    shown, background, header_unused = show(plane, window)
    packed = None
    if packs:
        saw = seen_ends(plane, window.measured if header_unused else window)
        packed = pack(plane, letterbox.turned(plane.pixels), saw, linear_ends(plane.voi))
    return Slice(letterbox.draw(shown), background, header_unused, packed)
