"""Planes, directions and cuts: where in the patient a displayed pixel lies.

All directions are LPS (DICOM PS3.3 C.7.6.2.1.1) unless a name says RAS, which NIfTI uses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medscan.choices import Plane
from medscan.errors import CorruptError

Vector = NDArray[np.float64]

PLANES: tuple[Plane, ...] = (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)
"""In order of preference where two planes are equally near."""

_NORMAL_AXIS = {Plane.AXIAL: 2, Plane.CORONAL: 1, Plane.SAGITTAL: 0}
_DISPLAY = {
    Plane.AXIAL: np.array([[1.0, 0, 0], [0, 1, 0]]),
    Plane.CORONAL: np.array([[1.0, 0, 0], [0, 0, -1]]),
    Plane.SAGITTAL: np.array([[0, 1.0, 0], [0, 0, -1]]),
}
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_AXES = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
"""Voxel axes to cut across, each followed by the axes that the frames span."""
_TIE = 1e-3
"""Direction cosines closer than this are equal."""
_NEARLY_LARGEST = 0.95
"""Fraction of the largest spacing from which on a spacing counts as the largest."""


class DisplayTransform(NamedTuple):
    """Turn of a stored frame for display: transpose first, then mirror."""

    transpose: bool
    flip_x: bool
    flip_y: bool


def normal_of(orientation: Sequence[float]) -> Vector:
    """Direction along which frames are stacked: row direction x column direction.

    Parameters
    ----------
    orientation : sequence of 6 floats
        Row direction, then column direction, LPS.

    Returns
    -------
    ndarray, float64 (3,)
    """
    row, column = np.reshape(np.asarray(orientation, dtype=np.float64), (2, 3))
    return np.cross(row, column)


def orthonormal(directions: Sequence[float] | None) -> tuple[float, ...] | None:
    """Row and column direction as unit vectors; None where the six numbers do not span a plane."""
    if directions is None:
        return None
    row, column = directions[:3], directions[3:]
    lengths = math.hypot(*row), math.hypot(*column)
    if not all(0.9 < length < 1.1 for length in lengths):
        return None
    if abs(sum(a * b for a, b in zip(row, column, strict=True))) > 0.05:
        return None
    return (*(v / lengths[0] for v in row), *(v / lengths[1] for v in column))


def nearest_plane(orientation: Sequence[float]) -> Plane:
    """Anatomical plane whose normal is nearest to that of `orientation` (6 floats, LPS).

    Among equally near planes, the order is axial, coronal, sagittal.
    """
    weight = np.abs(normal_of(orientation))
    return next(p for p in PLANES if weight[_NORMAL_AXIS[p]] >= weight.max() - _TIE)


def display_transform(
    orientation: Sequence[float] | None, plane: Plane | None = None
) -> DisplayTransform:
    """Find the turn of a stored DICOM frame to the canonical radiological display.

    The display has the patient's left on the right (axial, coronal), the front at the top (axial)
    or left (sagittal), the head at the top (coronal, sagittal). Rows and columns are only swapped
    and mirrored, never resampled. Frames of volume files are cut that way already: pass None.

    Parameters
    ----------
    orientation : sequence of 6 floats or None
        Row direction, then column direction, LPS.
    plane : Plane or None
        Plane to display them in; None: the nearest.

    Returns
    -------
    DisplayTransform
        `shown = frame.T if transpose else frame`, then `shown[:, ::-1]` if flip_x and
        `shown[::-1]` if flip_y. The identity where the orientation is unknown.
    """
    if orientation is None:
        return DisplayTransform(False, False, False)
    towards = _DISPLAY[plane or nearest_plane(orientation)]
    along = np.reshape(np.asarray(orientation, dtype=np.float64), (2, 3)) @ towards.T
    straight = abs(along[0, 0]) + abs(along[1, 1])
    crossed = abs(along[0, 1]) + abs(along[1, 0])
    transpose = bool(crossed > straight + _TIE)
    if transpose:
        along = along[::-1]
    return DisplayTransform(transpose, bool(along[0, 0] < 0), bool(along[1, 1] < 0))


@dataclass(frozen=True, slots=True)
class Cut:
    """A volume cut into displayed frames: where each lies and which voxels it shows.

    Parameters
    ----------
    plane : Plane
    axes : (int, int, int)
        Voxel axes of the stored array along which frame, row and column numbers run.
    reverse : (bool, bool, bool)
        Whether the stored index falls while the canonical index, the row and the column grow.
    frames, rows, columns : int
    orientation : tuple of 6 floats
        Row direction, then column direction of the frames as displayed, LPS unit vectors.
    pixel_spacing : (float, float)
        Millimetres between rows, then between columns.
    origin, last : tuple of 3 floats
        LPS centres of the first pixel of the first and of the last frame of the stack.
    """

    plane: Plane
    axes: tuple[int, int, int]
    reverse: tuple[bool, bool, bool]
    frames: int
    rows: int
    columns: int
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, float]
    origin: tuple[float, float, float]
    last: tuple[float, float, float]

    def order(self) -> range:
        """Canonical (RAS+) slice numbers, ascending along row x column direction."""
        # The normal of coronal frames points from front to back, against RAS.
        ascending = range(self.frames)
        return ascending[::-1] if self.plane is Plane.CORONAL else ascending

    def voxel(self, index: int, x: int, y: int) -> tuple[int, int, int]:
        """Stored voxel index shown at column `x`, row `y` of canonical slice `index`."""
        voxel = [0, 0, 0]
        sizes = (self.frames, self.rows, self.columns)
        for axis, back, size, n in zip(self.axes, self.reverse, sizes, (index, y, x), strict=True):
            voxel[axis] = size - 1 - n if back else n
        return voxel[0], voxel[1], voxel[2]

    def to_voxel(self) -> NDArray[np.float64]:
        """Affine (4, 4) from column, row and place in `order()` to the stored voxel index."""
        order = self.order()
        origin = np.array(self.voxel(order[0], 0, 0))
        affine = np.eye(4)
        for axis, (index, x, y) in enumerate(
            ((order[0], 1, 0), (order[0], 0, 1), (order[0] + order.step, 0, 0))
        ):
            affine[:3, axis] = np.array(self.voxel(index, x, y)) - origin
        affine[:3, 3] = origin
        return affine

    def frame(self, volume: Any, index: int) -> NDArray[Any]:
        """Canonical slice `index` of a stored array, as displayed.

        Parameters
        ----------
        volume : array-like (ni, nj, nk, ...)
            Anything that can be sliced (a nibabel `dataobj` reads only that slice).
        index : int
            As `Frame.index`: `volume number * frames + slice`, volumes counted along the axes
            after the third, the first of them fastest.

        Returns
        -------
        ndarray (rows, columns)
        """
        number, slice_index = divmod(index, self.frames)
        extra = np.unravel_index(number, volume.shape[3:], order="F") if volume.shape[3:] else ()
        where: list[slice | int] = [slice(None)] * min(3, len(volume.shape))
        if self.axes[0] < len(where):
            where[self.axes[0]] = self.frames - 1 - slice_index if self.reverse[0] else slice_index
        stored = np.asarray(volume[(*where, *(int(e) for e in extra))])
        shown = stored.reshape(self._stored_plane())
        shown = shown.T if self.axes[1] > self.axes[2] else shown
        return shown[:: -1 if self.reverse[1] else 1, :: -1 if self.reverse[2] else 1]

    def _stored_plane(self) -> tuple[int, int]:
        size = (self.rows, self.columns)
        return size[::-1] if self.axes[1] > self.axes[2] else size


def cut_geometry(affine: ArrayLike, shape: Sequence[int], plane: Plane | None = None) -> Cut:
    """Cut a volume across one of its axes, into frames displayed like those of the same DICOM.

    Frames are taken as a DICOM series would store them and turned by `display_transform`, so that
    both look the same however oblique they are. Slices are counted along the patient's axis nearest
    to their normal, in the direction of RAS: to the right, front or head.

    Parameters
    ----------
    affine : float (4, 4)
        Voxel index to RAS millimetres.
    shape : sequence of int
        Of the stored array; axes after the third (time, echo) are ignored.
    plane : Plane or None
        Plane to cut in, or nearest to. None: perpendicular to the axis of the largest spacing (of
        those within 5 % of it, axial, then coronal), or to the only axis with a single voxel.

    Raises
    ------
    CorruptError
        If the affine is not finite, or singular.
    """
    matrix, sizes = _checked(affine, shape)
    steps = _RAS_TO_LPS @ matrix[:3, :3]
    spacing = np.linalg.norm(steps, axis=0)
    directions = (steps / spacing).T.tolist()
    orientations = [[*directions[b], *directions[c]] for _, b, c in _AXES]
    through = _axis_of_largest_spacing(spacing, sizes, orientations)
    plane = plane or nearest_plane(orientations[through])
    if nearest_plane(orientations[through]) is not plane:
        through = _axis_of_plane(orientations, plane)
    transpose, flip_x, flip_y = display_transform(orientations[through], plane)
    first, second = _AXES[through][1:]
    axes = (through, first, second) if transpose else (through, second, first)
    rises = bool(normal_of(orientations[through]) @ directions[through] > 0)
    ascends = rises ^ transpose ^ flip_x ^ flip_y  # each turn of the frame reverses its normal
    reverse = (ascends == (plane is Plane.CORONAL), flip_y, flip_x)
    return _cut(matrix, sizes, plane, axes, reverse)


def _checked(affine: ArrayLike, shape: Sequence[int]) -> tuple[Vector, tuple[int, int, int]]:
    """Affine as float64 (4, 4), and the three spatial sizes."""
    matrix = np.asarray(affine, dtype=np.float64)
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > 1e9:
        raise CorruptError("affine holds no finite numbers")
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    volume = np.prod(spacing)
    if volume == 0 or abs(np.linalg.det(matrix[:3, :3])) < 1e-6 * volume:
        raise CorruptError("affine is singular")
    sizes = [int(n) for n in shape[:3]] + [1] * (3 - len(shape[:3]))
    return matrix, (sizes[0], sizes[1], sizes[2])


def _axis_of_largest_spacing(
    spacing: Vector, sizes: tuple[int, int, int], orientations: list[list[float]]
) -> int:
    """Voxel axis to cut across where no plane is asked for; see `cut_geometry`."""
    flat = [axis for axis in range(3) if sizes[axis] == 1]
    if len(flat) == 1:
        return flat[0]
    least = _NEARLY_LARGEST * spacing.max()
    wide = [axis for axis in range(3) if spacing[axis] >= least]
    return min(wide, key=lambda axis: PLANES.index(nearest_plane(orientations[axis])))


def _axis_of_plane(orientations: list[list[float]], plane: Plane) -> int:
    """Voxel axis to cut across for frames nearest to a plane."""
    along = [abs(normal_of(orientation)[_NORMAL_AXIS[plane]]) for orientation in orientations]
    return int(np.argmax(along))


def _cut(
    matrix: Vector,
    sizes: tuple[int, int, int],
    plane: Plane,
    axes: tuple[int, int, int],
    reverse: tuple[bool, bool, bool],
) -> Cut:
    steps = _RAS_TO_LPS @ matrix[:3, :3][:, list(axes)]
    steps = np.where(reverse, -steps, steps)
    length = np.linalg.norm(steps, axis=0)
    row, column = steps[:, 2] / length[2], steps[:, 1] / length[1]
    count = tuple(sizes[a] for a in axes)

    def corner(index: int) -> tuple[float, float, float]:
        voxel = np.zeros(3)
        voxel[list(axes)] = np.where(reverse, np.array(count) - 1, 0)
        voxel[axes[0]] = count[0] - 1 - index if reverse[0] else index
        x, y, z = _RAS_TO_LPS @ (matrix[:3, :3] @ voxel + matrix[:3, 3])
        return float(x), float(y), float(z)

    ends = (count[0] - 1, 0) if plane is Plane.CORONAL else (0, count[0] - 1)
    return Cut(
        plane=plane,
        axes=axes,
        reverse=reverse,
        frames=count[0],
        rows=count[1],
        columns=count[2],
        orientation=tuple(float(v) for v in (*row, *column)),
        pixel_spacing=(float(length[1]), float(length[2])),
        origin=corner(ends[0]),
        last=corner(ends[1]),
    )
