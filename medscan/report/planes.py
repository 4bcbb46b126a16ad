"""The two other planes through the slices of a stack: whether a viewer may show them, and how.

Axes of a stack are 0 and 1, to the right and down in its slices as displayed, and 2, from slice to
slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medscan.archive import display_transform, nearest_plane
from medscan.report.orientation import PaneMarks, letters
from medscan.report.placing import Square, square_of
from medscan.results import StackResult, State, is_even

MOST_VOXELS = 128 << 20
"""Voxels of a stack that a page unpacks at once, two bytes each."""
_LEANS = 0.01
"""Largest shift between slices along their rows or columns, as a share of their distance."""


@dataclass(frozen=True, slots=True)
class CutView:
    """A plane across the slices, as its pane shows it.

    Parameters
    ----------
    name : str
        The nearest anatomical plane.
    axis : int
        Axis of the slices that lies in it, 0 or 1; the other one is that of all slices.
    turn : tuple of int
        (a, b, c, d): (x, y) of the pane's centre -> (a x + c y, b x + d y), where x ran along
        `axis` and y from slice to slice.
    marks : PaneMarks
        Letters of the patient's directions.
    """

    name: str
    axis: int
    turn: tuple[int, int, int, int]
    marks: PaneMarks


@dataclass(frozen=True, slots=True)
class OtherPlanes:
    """The planes across the slices of a stack.

    Parameters
    ----------
    why_not : str
        Why they are not offered, in words; empty if they are, or if there is one slice only.
    cuts : tuple of CutView
        Both of them, or none.
    lengths : tuple of float
        Millimetres of the square's sides, and of all slices together, along axes 0, 1 and 2.
    """

    why_not: str = ""
    cuts: tuple[CutView, ...] = ()
    lengths: tuple[float, ...] = ()

    def facts(self) -> dict[str, Any] | None:
        """Data of the script's viewer, for JSON."""
        cuts = [{"axis": cut.axis, "turn": cut.turn} for cut in self.cuts]
        return {"cuts": cuts, "lengths": self.lengths} if cuts else None


def other_planes(stack: StackResult, full: Mapping[int, str]) -> OtherPlanes:
    """The planes across a stack's slices, offered if these are regular and all in the page.

    Parameters
    ----------
    stack : StackResult
    full : mapping
        Addresses of slices at their own resolution, by their index.
    """
    count = len(stack.state)
    if count < 2:
        return OtherPlanes()
    square = square_of(stack)
    if square is None or np.isnan(square.origins).any():
        return OtherPlanes("it is not known where its slices lie in the patient")
    if why := _irregular(stack, square) or _incomplete(stack, full):
        return OtherPlanes(why)
    sides = (square.across, square.down, square.origins[-1] - square.origins[0])
    steps = np.array([np.linalg.norm(side) for side in sides])
    axes = [side / length for side, length in zip(sides, steps, strict=True)]
    steps[2] *= count / (count - 1)
    return OtherPlanes(
        cuts=tuple(_cut(axes, axis) for axis in (0, 1)),
        lengths=tuple(steps.round(4).tolist()),
    )


def _irregular(stack: StackResult, square: Square) -> str:
    """Why a stack is not regular, in words; empty if it is."""
    if not is_even(stack):
        return "its slices are not evenly spaced"
    step = square.origins[1] - square.origins[0]
    sides = (side / np.linalg.norm(side) for side in (square.across, square.down))
    if max(abs(step @ side) for side in sides) > _LEANS * np.linalg.norm(step):
        return "each of its slices is shifted along the one before, as a tilted gantry leaves them"
    return ""


def _incomplete(stack: StackResult, full: Mapping[int, str]) -> str:
    """Why the page does not have or hold all slices, in words; empty if it does."""
    count, here = len(stack.state), sum(map(bool, full.values()))
    if failed := stack.count(State.FAILED):
        return f"{failed} of its {count} slices could not be used"
    pictures = str(stack.info.get("thumbnails", "withheld"))
    if here < count and pictures.startswith("withheld"):
        return f"its pictures are {pictures}"
    if here < count:
        return (
            f"the report has the values of {here} of {count} slices; "
            "medscan report --archive ARCHIVE --full-slices all writes them all"
        )
    rows, columns = int(stack.info["rows"]), int(stack.info["columns"])
    if rows * columns * count > MOST_VOXELS:
        return f"{count} slices of {columns} × {rows} pixels are too many for a browser"  # noqa: RUF001
    return ""


def _cut(axes: list[NDArray[np.float64]], axis: int) -> CutView:
    """The plane of an axis of the slices and that through them, turned as radiologists show it."""
    right, down = axes[axis], axes[2]
    orientation = [*right, *down]
    transpose, flip_x, flip_y = display_transform(orientation)
    if transpose:
        right, down = down, right
    x, y = (-1 if flip else 1 for flip in (flip_x, flip_y))
    right, down = x * right, y * down
    return CutView(
        name=nearest_plane(orientation).value,
        axis=axis,
        turn=(0, y, x, 0) if transpose else (x, 0, 0, y),
        marks=PaneMarks(letters(-right), letters(right), letters(-down), letters(down)),
    )
