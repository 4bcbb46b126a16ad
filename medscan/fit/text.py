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
    if not calibration.normals:
        why = "no normals of two patients to spare, --zero-shot, --folds 0, or interrupted"
        return f"not calibrated ({why}): it will flag nothing"
    text = (
        f"threshold {calibration.threshold:.3f} for {calibration.target_fpr:.0%} of normal slices "
        f"from {len(calibration.normals)} out-of-sample normals"
    )
    if calibration.provisional:
        text += " (provisional: too few normals for that rate)"
    return text
