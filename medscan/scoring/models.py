"""Detectors loaded on a device, ready to score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medscan.clip import choose_device, device_errors, licence_of
from medscan.detector import Detector
from medscan.history import tried_on_own
from medscan.options import Compute
from medscan.profile import Clock
from medscan.runtimes import Loader
from medscan.scoring.lanes import Lanes, lane_count
from medscan.scoring.scorer import AUTO_BATCH_SIZES, Scorer


@contextmanager
def loaded_scorers(
    detectors: Sequence[tuple[Path, Detector]],
    compute: Compute,
    clock: Clock | None = None,
    waiting: Callable[[], object] = lambda: None,
    cores: int | None = None,
) -> Iterator[dict[str, Scorer]]:
    """Load a scorer for each detector.

    Parameters
    ----------
    detectors : sequence of (Path, Detector)
    compute : Compute
    clock : Clock, optional
        As in `Scorer`.
    waiting : callable
    cores : int, optional
        As in `Lanes`.

    Yields
    ------
    dict
        Scorers by hash of their detector.

    Raises
    ------
    medscan.errors.DeviceError
        If the detectors do not fit into the device's memory, or the device is lost.
    """
    device = choose_device(compute.device)
    batch = compute.batch_size or AUTO_BATCH_SIZES[device.split(":")[0]]
    with device_errors():
        loader = Loader(compute.runtime, device, lane_count(device, cores))
        models = [(d, loader.load(path, d, compute.precision_of(d))) for path, d in detectors]
    with Lanes(device, waiting, cores) as lanes:
        yield {d.digest: Scorer(d, model, batch, lanes, clock) for d, model in models}


def describe(detector: Detector) -> dict[str, Any]:
    """Return what results.h5 records of a detector."""
    calibration = detector.calibration
    accepted = {"accepted": asdict(calibration.accepted)} if calibration.accepted else {}
    return accepted | {
        "gate": detector.gate is not None,
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
        "normal_stacks": [list(scores) for scores in calibration.stacks],
        "masked": detector.masked,
        "tried_on_own": tried_on_own(detector.trials),
        "licence": detector.licence,
        "backbone_licence": detector.backbone_licence or licence_of(detector.backbone),
        "lineage": [asdict(parent) for parent in detector.lineage],
    }
