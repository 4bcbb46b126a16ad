"""Whether a detector applies to a stack: how far that lies from what the detector was fitted on.

Two things are compared with the shots: what the slices look like as a whole, by the distance of
their features, and how they were taken, by what their headers say. A stack beyond either is scored
all the same, but a person looks at it: nobody has measured what its score means.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from medscan.archive import Stack
from medscan.normals import Scores
from medscan.schema import OPEN, Fraction, Line

SHARE = 0.05
"""Share of normal slices like the shots that may lie beyond the limit of distances."""
NUMBERS = {
    "pixel spacing": ("mm", 1.25),
    "slice spacing": ("mm", 1.25),
    "slice thickness": ("mm", 1.25),
    "field strength": ("T", 1.1),
}
"""What a header says of how a stack was taken: the unit, and by which factor it may lie outside of
what the shots spanned. Scanners and patients differ by less than these."""
_ELEMENTS = {"slice thickness": "SliceThickness", "field strength": "MagneticFieldStrength"}
_KERNEL = "ConvolutionKernel"
_PLAIN = re.compile(
    r"(([A-Z]{1,2}[0-9]{2}[A-Z]?|STANDARD|SOFT|DETAIL|BONE|BONEPLUS|LUNG|CHEST|EDGE)( [0-9])?)",
    re.IGNORECASE | re.ASCII,
)
"""Kernels of Siemens, Canon and GE. Others may be replaced in a scan, see
`medscan.archive.Pseudonyms`, and do not count."""
_MOST = 1e6
"""Numbers from there on are none of a scanner's."""
_FURTHEST = 1e6
"""Largest distance that is recorded, in units of the limit."""


_LOOKS = "its slices look different"


def looks_different(why: str) -> bool:
    """Whether a reason of `Gate.beyond` is the distance of the slices, not what a header says."""
    return why.startswith(_LOOKS)


@dataclass(frozen=True, slots=True)
class Acquired:
    """How a stack was taken, as far as its header says.

    Parameters
    ----------
    numbers : dict of str to float
        Some of `NUMBERS`.
    kernel : str
        Reconstruction kernel in capitals; empty if unknown.
    """

    numbers: dict[str, float] = field(default_factory=dict)
    kernel: str = ""


UNKNOWN = Acquired()


def acquired(stack: Stack) -> Acquired:
    """How a stack was taken."""
    told: dict[str, object] = {name: stack.facts.get(key) for name, key in _ELEMENTS.items()}
    told["pixel spacing"] = max(stack.pixel_spacing or (), default=None)
    told["slice spacing"] = stack.slice_spacing
    numbers = {name: _number(told[name]) for name in NUMBERS}
    kernel = stack.facts.get(_KERNEL, "").replace("\\", " ")
    plain = kernel.upper() if _PLAIN.fullmatch(kernel) else ""
    return Acquired({k: v for k, v in numbers.items() if 0 < v < _MOST}, plain)


def _number(told: object) -> float:
    try:
        return float(str(told or 0))
    except ValueError:
        return 0.0


@dataclass(frozen=True, slots=True)
class Gate:
    """How far the shots of a detector reach; the features are compared by `medscan.parts.Distance`.

    Parameters
    ----------
    limit : float
        Distance from which on a slice lies beyond.
    share : float
        Share of normal slices like the shots that may.
    provisional : bool
        Whether there were too few shots for a limit at that share.
    normals : tuple of float
        Sorted distances of normal shots from those of other patients.
    spans : dict of str to (float, float)
        Least and greatest of each of `NUMBERS` that most shots state.
    kernels : tuple of str
        Reconstruction kernels of the shots, if most state one.
    """

    __pydantic_config__ = OPEN  # a newer version may compare more

    limit: Annotated[float, Field(gt=0, le=1e30)]
    share: Fraction
    provisional: bool
    normals: Scores
    spans: dict[Line, tuple[float, float]] = field(default_factory=dict)
    kernels: Annotated[tuple[Line, ...], Field(max_length=1000)] = ()

    def place(self, distances: ArrayLike) -> float:
        """Median of the distances (n,) of slices, in units of the limit; NaN does not count."""
        known = np.asarray(distances, np.float64)
        known = known[~np.isnan(known)]
        if not len(known):
            return math.nan
        return min(float(np.median(known)) / self.limit, _FURTHEST)

    def beyond(self, place: float, taken: Acquired) -> list[str]:
        """Why a stack is unlike the shots, as phrases; none if it is not.

        Parameters
        ----------
        place : float
            See `place`.
        taken : Acquired
        """
        looks = [f"{_LOOKS}: {place:.2f} times the limit of distance"]
        return [*looks * (place >= 1), *self._numbers(taken), *self._kernel(taken.kernel)]

    def _numbers(self, taken: Acquired) -> Iterable[str]:
        for name, (low, high) in self.spans.items():
            unit, slack = NUMBERS.get(name, ("", math.inf))
            value = taken.numbers.get(name)
            if value is not None and not low / slack <= value <= high * slack:
                span = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
                yield f"{name} {value:.3g} {unit}, not {span}"

    def _kernel(self, kernel: str) -> Iterable[str]:
        if kernel and self.kernels and kernel not in self.kernels:
            yield f"kernel {kernel}, not {' or '.join(self.kernels[:3])}"


def spanned(
    shots: Sequence[Acquired],
) -> tuple[dict[str, tuple[float, float]], tuple[str, ...]]:
    """Spans of numbers, and kernels, that at least half of the shots state; see `Gate`."""
    spans = {}
    for name in NUMBERS:
        told = [shot.numbers[name] for shot in shots if name in shot.numbers]
        if told and 2 * len(told) >= len(shots):
            spans[name] = min(told), max(told)
    kernels = [shot.kernel for shot in shots if shot.kernel]
    return spans, tuple(sorted(set(kernels))) if 2 * len(kernels) >= len(shots) else ()
