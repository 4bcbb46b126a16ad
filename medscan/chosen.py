"""The detectors that a user names, or all that are here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medscan import detector as detectors
from medscan.choices import Precision
from medscan.detector import Detector
from medscan.errors import UsageError
from medscan.options import Compute
from medscan.runtimes import choose_precision


def read_detectors(
    named: Sequence[Path] | None,
    target_fpr: float | None = None,
    compute: Compute | None = None,
) -> tuple[tuple[Path, Detector], ...]:
    """Read the detectors named, or all that are shipped or in $MEDSCAN_WEIGHTS.

    Parameters
    ----------
    named : sequence of Path or None
        Detector files, or names of shipped ones.
    target_fpr : float or None
        False-positive rate to place every threshold for; None: the detector's own.
    compute : Compute or None
        What they will be computed with, to settle `Detector.precision`; None: nothing.

    Raises
    ------
    UsageError
        If a detector cannot be read, or the rate does not lie between 0 and 1.
    """
    if target_fpr is not None and not 0 < target_fpr < 1:
        raise UsageError("--target-fpr must lie between 0 and 1")
    pairs = []
    for path in [detectors.find(p) for p in named] if named else detectors.shipped():
        detector = detectors.read(path)
        if target_fpr is not None:
            detector = replace(detector, calibration=detector.calibration.at_rate(target_fpr))
        pairs.append((path, settled(detector, compute)))
    return tuple(pairs)


def settled(detector: Detector, compute: Compute | None) -> Detector:
    """Return a detector with the precision that `auto` stands for, if that was asked for."""
    if compute is None or compute.precision is not Precision.AUTO:
        return detector
    precision = choose_precision(detector, compute.runtime, compute.device)
    return replace(detector, precision=precision)
