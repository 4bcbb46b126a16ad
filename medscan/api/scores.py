"""The scores and maps of one stack of slices, from a detector in memory or from results.h5."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medscan.api.checked import checked
from medscan.errors import UsageError
from medscan.results import StackResult, State, affine_of, is_even, on_frame, slice_affine

Shape = tuple[int, int]
"""Rows and columns."""


@dataclass(frozen=True, slots=True, repr=False)
class Scores:
    """What a detector says of a stack of N slices: scores, maps, and where they lie.

    The slices are in the order of the stack: along its normal, or as in the array. A slice that
    shows only background, or that could not be read, has no score: NaN.

    Maps are anomaly scores on the pixels of the slice: of a DICOM frame as it is stored, of a
    volume as it is cut for display, of an array as it was given. Coordinates are (column, row),
    whole numbers at the centres of pixels. An affine takes (column, row, slice, 1) to millimetres
    of the patient in RAS: x to the right, y to the front, z to the head, as in NIfTI.
    """

    _stack: StackResult
    _failures: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        verdict = "flagged" if self.flagged else "uncertain" if self.uncertain else "not flagged"
        unlike = ", unlike the shots" * bool(self.unlike)
        return f"<medscan.Scores {self.score:.4g} of {len(self)} slices, {verdict}{unlike}>"

    def __len__(self) -> int:
        return len(self._stack.state)

    @property
    def key(self) -> str:
        """Name of the stack, unique in its study; in results.h5 that of its group."""
        return self._stack.key

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID; empty where there is none."""
        return str(self._stack.info["SeriesInstanceUID"])

    @property
    def modality(self) -> str:
        """Modality, as in DICOM; empty when unknown."""
        return str(self._stack.info["modality"])

    @property
    def plane(self) -> str:
        """One of axial, coronal and sagittal; empty when unknown."""
        return str(self._stack.info["plane"])

    @property
    def detector(self) -> str:
        """Name of the detector."""
        return str(self._stack.info["detector"])

    @property
    def assumed(self) -> tuple[str, ...]:
        """What the image does not say of itself and the detector asks for, as "modality MR"."""
        return tuple(self._stack.assumed)

    @property
    def score(self) -> float:
        """Score of the whole stack: the mean of the highest 5 % of its slices, at least one.

        NaN if no slice was scored.
        """
        return self._stack.score

    @property
    def threshold(self) -> float:
        """Score from which a stack of as many slices is flagged; NaN without calibration."""
        return float(self._stack.info["threshold"])

    @property
    def flagged(self) -> bool:
        """Whether `score` reaches `threshold`."""
        return self._stack.flagged

    @property
    def uncertain(self) -> bool:
        """Whether it is not flagged, but may not be cleared either; see medscan-accept(1)."""
        return self._stack.uncertain

    @property
    def unlike(self) -> tuple[str, ...]:
        """Why it is unlike what the detector was fitted on, as phrases; empty without a gate."""
        return tuple(self._stack.unlike)

    @property
    def distance(self) -> float:
        """Median distance of its slices from the shots: 1 is the limit. NaN without a gate."""
        return float(self._stack.info.get("distance", math.nan))

    @property
    def provisional(self) -> bool:
        """Whether the threshold was set from too few normals for its rate."""
        return bool(self._stack.info["provisional"])

    @property
    def percentile(self) -> float:
        """Percentage of normal stacks of as many slices that score lower; NaN when unknown."""
        return self._stack.percentile

    @property
    def slice_threshold(self) -> float:
        """Score from which a single slice is flagged; NaN without calibration."""
        return float(self._stack.info["slice_threshold"])

    @property
    def slice_scores(self) -> NDArray[np.float32]:
        """Score of each slice, float32 (N,); NaN where a slice was not scored."""
        return self._stack.slice_score.copy()

    @property
    def states(self) -> list[str]:
        """`scored`, `background` or `failed` for each slice."""
        return [State(state).name.lower() for state in self._stack.state]

    @property
    def failures(self) -> dict[str, str]:
        """Why files could not be used, by their path: those of its slices, and found beside them.

        Results hold only those of its slices.
        """
        return dict(self._failures)

    @property
    def positions_mm(self) -> NDArray[np.float64]:
        """Position of each slice along the normal, float64 (N,), millimetres; NaN when unknown."""
        return self._stack.position_mm.copy()

    @property
    def paths(self) -> list[str]:
        """File of each slice below what was scanned; hashed names unless the scan kept them."""
        return list(self._stack.path)

    @property
    def frames(self) -> NDArray[np.int32]:
        """Frame of each slice in its file, int32 (N,), from 0."""
        return self._stack.frame.copy()

    @property
    def sop_instance_uids(self) -> list[str]:
        """SOPInstanceUID of each slice; empty texts where there are none."""
        return list(self._stack.sop_instance_uid)

    @property
    def shape(self) -> Shape:
        """Rows and columns of the slices."""
        return int(self._stack.info["rows"]), int(self._stack.info["columns"])

    @property
    def patch_maps(self) -> NDArray[np.float16]:
        """Maps as the model gives them, float16 (N, G, G), on the patches of its square.

        Zero where a slice was not scored. The square holds the slice as it is displayed, uncropped
        and centred.
        """
        return self._stack.heatmap.copy()

    @checked
    def map(self, index: int, shape: Shape | None = None) -> NDArray[np.float32]:
        """Return the map of a slice, interpolated between the centres of the patches.

        Parameters
        ----------
        index : int
            Of the slice, from 0; negative ones count from the end.
        shape : (int, int), optional
            Rows and columns to draw the whole slice on; None: its own.

        Returns
        -------
        float32 (rows, columns)
            NaN if the slice was not scored.

        Raises
        ------
        UsageError
            If the shape has no pixel, or there is no such slice.
        """
        stack, index = self._stack, self._place(index)
        rows, columns = self._checked(shape)
        if stack.state[index] != State.SCORED:
            return np.full((rows, columns), np.nan, np.float32)
        to_pixel = self._resize((rows, columns))[:2, [0, 1, 3]]
        grid_to_pixel = np.vstack([stack.grid_to_pixel[index], [0, 0, 1]])
        grid_to_shape = np.vstack([to_pixel, [0, 0, 1]]) @ grid_to_pixel
        return on_frame(stack.heatmap[index], grid_to_shape[:2], rows, columns)

    @checked
    def maps(self, shape: Shape | None = None) -> NDArray[np.float32]:
        """Return the maps of all slices, float32 (N, rows, columns); see `map`."""
        drawn = np.empty((len(self), *self._checked(shape)), np.float32)
        for index in range(len(self)):
            drawn[index] = self.map(index, shape)
        return drawn

    @checked
    def affine(self, shape: Shape | None = None) -> NDArray[np.float64] | None:
        """Return where `maps(shape)` lies: (column, row, slice, 1) to RAS millimetres.

        Returns
        -------
        float64 (4, 4)
            None if the file does not say where it lies, or if its slices are not evenly spaced:
            `slice_affine` then says where each one is.
        """
        affine = affine_of(self._stack) if len(self) == 1 or is_even(self._stack) else None
        return None if affine is None else affine @ np.linalg.inv(self._resize(shape))

    @checked
    def slice_affine(self, index: int, shape: Shape | None = None) -> NDArray[np.float64] | None:
        """Return where `map(index, shape)` lies: (column, row, 0, 1) to RAS millimetres.

        Returns
        -------
        float64 (4, 4)
            None if the file does not say it.
        """
        affine = slice_affine(self._stack, self._place(index))
        return None if affine is None else affine @ np.linalg.inv(self._resize(shape))

    def _place(self, index: int) -> int:
        """Place of a slice, from 0; negative ones count from the end."""
        if not -len(self) <= index < len(self):
            raise UsageError(f"index={index}: there are {len(self)} slices, from 0")
        return range(len(self))[index]

    def _checked(self, shape: Shape | None) -> Shape:
        rows, columns = self.shape if shape is None else shape
        if rows < 1 or columns < 1:
            raise UsageError(f"shape={shape}: rows and columns, at least 1 of each")
        return rows, columns

    def _resize(self, shape: Shape | None) -> NDArray[np.float64]:
        """(4, 4): (column, row, slice, 1) of the slices -> that of a grid over the same field."""
        rows, columns = self._checked(shape)
        across, down = columns / self.shape[1], rows / self.shape[0]
        resize = np.diag([across, down, 1.0, 1.0])
        resize[:2, 3] = (across - 1) / 2, (down - 1) / 2  # edges stay, not the centres of pixels
        return resize
