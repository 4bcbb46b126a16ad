"""Detectors loaded on a device, ready to score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medscan.detector import Detector
from medscan.options import Compute
from medscan.profile import Clock
from medscan.scoring.lanes import Lanes
from medscan.scoring.scorer import AUTO, Scorer, device_errors

if TYPE_CHECKING:
    from medscan.clip import Backbone


@contextmanager
def loaded_scorers(
    detectors: Sequence[tuple[Path, Detector]], compute: Compute, clock: Clock | None = None
) -> Iterator[dict[str, Scorer]]:
    """A scorer for each detector, by its hash; detectors of one backbone and size share it.

    Raises
    ------
    medscan.errors.DeviceError
        The device has no room for them, or is lost.
    """
    from medscan.clip import choose_device

    device = choose_device(compute.device)
    with Lanes(device) as lanes:  # opened first: it also decides how sentences are computed
        with device_errors():
            scorers = _scorers(detectors, compute, device, lanes, clock)
        yield scorers


def _scorers(
    detectors: Sequence[tuple[Path, Detector]],
    compute: Compute,
    device: str,
    lanes: Lanes,
    clock: Clock | None,
) -> dict[str, Scorer]:
    batch = compute.batch_size or AUTO[device.split(":")[0]]
    backbones: dict[tuple[Any, ...], Backbone] = {}
    scorers = {}
    for path, detector in detectors:
        tower = (detector.backbone, *detector.tower.values())
        if tower not in backbones:
            backbones[tower] = detector.load_backbone(device=device, precision=compute.precision)
        method = detector.load_method(path, backbones[tower])
        scorers[detector.digest] = Scorer(detector, method, batch, lanes, clock)
    return scorers


def describe(detector: Detector) -> dict[str, Any]:
    """What results.h5 says of a detector."""
    calibration = detector.calibration
    return {
        "name": detector.name,
        "hash": detector.digest,
        "method": detector.method,
        "protocol": detector.protocol,
        "backbone": detector.backbone,
        "backbone_hash": detector.backbone_digest,
        "domain": str(detector.domain),
        "window": detector.window,
        "threshold": calibration.threshold,
        "target_fpr": calibration.target_fpr,
        "provisional": calibration.provisional,
        "map_low": calibration.map_low,
        "map_high": calibration.map_high,
        "normals": list(calibration.normals),
        "licence": detector.licence,
        "lineage": [asdict(parent) for parent in detector.lineage],
    }
