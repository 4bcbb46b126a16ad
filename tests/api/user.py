"""What a user writes: `mypy` checks it strictly, by the annotations that medscan ships."""

import medscan
from medscan import open_results


def highest(detector: medscan.Detector, path: str) -> float:
    """Score of the highest slice, which has a place."""
    scores: medscan.Scores = detector.score(path)
    affine = scores.affine((10, 20))
    if affine is not None:
        affine.sum()
    return float(scores.slice_scores.max())


def night(folder: str) -> str:
    """Scan, and look at what came first."""
    try:
        line: str = medscan.scan(folder, detector=["a", "b"], settle=60).line()
    except medscan.errors.LockedError as error:
        return str(error)
    for study in open_results("results.h5"):
        line += f"{study.rank} {[series.map(0).shape for series in study.series]}"
        line += f" before: {[earlier.score for earlier in study.earlier]}"
    return line


def fitted(data: str) -> medscan.Detector:
    """Fit with other settings."""
    return medscan.fit(data, "mine.safetensors", method="mvfa", settings={"epochs": 2})
