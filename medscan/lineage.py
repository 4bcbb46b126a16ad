"""The detectors that a refitted one comes from, as its file tells of them."""

from __future__ import annotations

from dataclasses import dataclass

from medscan.schema import OPEN, Count, Digest, Line


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A detector that was refitted with a radiologist's verdicts.

    Parameters
    ----------
    name, digest, licence : str
        As in `medscan.detector.Detector`.
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
