"""What became of a detector after its fit: verdicts, and precisions that it was tried in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from medscan.schema import OPEN, Count, Digest, Line


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A detector that was refitted with a radiologist's verdicts.

    Parameters
    ----------
    name, digest, licence : str
        As in `Detector`.
    verdicts : int
        Number of rows of the verdict file.
    decisions : str
        SHA-256 of that file.
    results : tuple of str
        Times at which the judged results were written, ISO 8601.
    kept : int
        Number of the detector's own shots that were used again.
    added : int
        Number of slices that the verdicts added.
    """

    __pydantic_config__ = OPEN  # a newer version may say more

    name: Line
    digest: Digest
    licence: Line
    verdicts: Count
    decisions: Digest
    results: tuple[Line, ...]
    kept: Count
    added: Count


@dataclass(frozen=True, slots=True)
class Layer:
    """A linear layer of a detector's graph, and how its input is rounded for int8.

    Parameters
    ----------
    inputs, outputs : int
        Widths.
    low, high : float
        Least and greatest input that was measured; those beyond are cut off.
    """

    __pydantic_config__ = OPEN  # a newer version may say more

    inputs: Count
    outputs: Count
    low: Annotated[float, Field(ge=-1e30, le=0)]
    high: Annotated[float, Field(ge=0, le=1e30)]


@dataclass(frozen=True, slots=True)
class Trial:
    """How a lower precision changed a detector's scores.

    Parameters
    ----------
    precision : str
        Number format that was tried.
    runtime : str
        Library that computed it, and its version.
    slices : int
        Number of slices.
    flags : int
        Of these, how many changed sides of the detector's threshold.
    bias : float
        Mean change of a score, in standard deviations of the scores.
    spearman : float
        Rank correlation of the scores before and after.
    image_auroc : float
        Change of the AUROC of slices.
    pixel_auroc : float or None
        Change of that of pixels; None without masks.
    unlike : int or None
        Number of slices that changed sides of the limit of the detector's gate, see `medscan.gate`;
        None without one, or if that was not compared.
    seen : bool
        Whether the slices are of patients whom the detector was fitted on: there were no others.
    layers : tuple of Layer
        In the order of the graph; empty but for int8.
    """

    __pydantic_config__ = OPEN  # a newer version may say more

    precision: Line
    runtime: Line
    slices: Count
    flags: Count
    bias: float
    spearman: float
    image_auroc: float
    pixel_auroc: float | None = None
    unlike: Count | None = None
    seen: bool = False
    layers: Annotated[tuple[Layer, ...], Field(max_length=10_000)] = ()

    @property
    def passed(self) -> bool:
        """Whether the detector says the same in this precision, for all that it is used for."""
        return not self.faults()

    def faults(self) -> list[str]:
        """Return what speaks against this precision, in words."""
        areas = (self.image_auroc, self.pixel_auroc or 0.0)
        found = {
            f"{self.flags} flags of {self.slices} change": self.flags > MOST_FLAGS,
            f"{self.unlike} slices of {self.slices} become like or unlike its shots": (
                (self.unlike or 0) > MOST_FLAGS
            ),
            f"scores move by {self.bias:+.3f} of their spread": not abs(self.bias) < MOST_BIAS,
            f"their rank correlation is {self.spearman:.4f}": not self.spearman >= LEAST_SPEARMAN,
            f"AUROC changes by {max(areas, key=abs):+.4f}": not all(
                abs(area) <= MOST_AUROC for area in areas
            ),
        }
        return [what for what, holds in found.items() if holds]


def tried_on_own(trials: Sequence[Trial]) -> list[str]:
    """Precisions that passed only on patients whom the detector was fitted on."""
    passed = [trial for trial in trials if trial.passed]
    others = {trial.precision for trial in passed if not trial.seen}
    return sorted({trial.precision for trial in passed} - others)


MOST_FLAGS, MOST_BIAS, MOST_AUROC, LEAST_SPEARMAN = 1, 0.1, 0.005, 0.995
"""A precision passes within these; see `Trial`."""
