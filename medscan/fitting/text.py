"""What `medscan fit` prints."""

from __future__ import annotations

from medscan.detector import Detector


def detector_line(detector: Detector) -> str:
    """Return a line about a detector that was fitted just now."""
    shots = ", ".join(f"{len(names)} {label}" for label, names in detector.shots.items() if names)
    text = f"{detector.method} on {detector.backbone}, shots: {shots or 'none'}"
    return f"{text}; {_calibration_of(detector)}"


def _calibration_of(detector: Detector) -> str:
    calibration = detector.calibration
    promise = calibration.promise
    if promise is None:
        why = "no normals of two patients to spare, --zero-shot, --folds 0, or interrupted"
        return f"not calibrated ({why}): it will flag nothing"
    # A stack's threshold depends on its number of slices.
    of = " of a slice, those of stacks by their slices" if calibration.stacks else ""
    told = (
        f"threshold {calibration.threshold:.3f}{of}: expect it to flag {_percent(promise.rate)} % "
        f"of normal {promise.level} ({_percent(promise.low)} to {_percent(promise.high)} %), "
        f"by {promise.normals} that it had not seen"
    )
    if promise.normals < promise.needed:
        told += (
            f"; provisional: {_percent(calibration.target_fpr)} % of normal {promise.level} needs "
            f"{promise.needed} of them"
        )
    elif calibration.provisional and not calibration.stacks:
        told += "; provisional: the calibration was interrupted"
    return told


def _percent(share: float) -> str:
    return f"{100 * share:.2g}" if share < 0.995 else "100"
