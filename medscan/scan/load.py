"""Detectors ready to score, and the archive they look at."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medscan import archive
from medscan.archive import Catalogue, Plane
from medscan.detector import Detector
from medscan.scan.ledger import Ledger
from medscan.scan.options import ScanOptions
from medscan.scan.score import AUTO, Scorer
from medscan.scan.settle import settled

if TYPE_CHECKING:
    from medscan.clip import Backbone


def catalogue_of(options: ScanOptions, ledger: Ledger | None) -> tuple[Catalogue, int]:
    """Index the archives; what this scan itself writes does not belong to them.

    Returns
    -------
    (Catalogue, int)
        Of the settled studies, and the number of those that are still arriving.
    """
    now_ns = time.time_ns()  # before the walk: what is written meanwhile is young
    catalogue = archive.index(
        options.roots, plane=plane_of(options), cache=ledger, workers=options.workers
    )
    if ledger is not None:
        ledger.commit()
    aside = (o for o in catalogue.set_aside if not options.writes(o.file.full))
    catalogue = replace(catalogue, set_aside=tuple(aside))
    return settled(catalogue, options.settle_s, now_ns)


def plane_of(options: ScanOptions) -> Plane | None:
    """Plane to cut volumes in: the one asked for, else the one that all detectors agree on."""
    wanted = {detector.domain.plane for _, detector in options.detectors}
    if options.plane is not None or len(wanted) != 1:
        return options.plane
    plane = wanted.pop()
    return Plane(plane) if plane else None


def load_scorers(options: ScanOptions) -> dict[str, Scorer]:
    """A scorer for each detector; detectors of one backbone and size share it."""
    from medscan.clip.device import choose_device

    device = choose_device(options.device)
    batch = options.batch_size or AUTO[device.split(":")[0]]
    backbones: dict[tuple[Any, ...], Backbone] = {}
    scorers = {}
    for path, detector in options.detectors:
        known = (detector.backbone, *detector.tower.values())
        if known not in backbones:
            backbones[known] = detector.load_backbone(device=device, precision=options.precision)
        method = detector.load_method(path, backbones[known])
        scorers[detector.digest] = Scorer(detector, method, batch)
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
    }
