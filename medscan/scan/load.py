"""Detectors ready to score, and the archive they look at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from medscan import archive
from medscan.archive import ArchiveFile, Catalogue, Outcome, Plane, Pseudonyms
from medscan.detector import Detector
from medscan.scan.lanes import Lanes
from medscan.scan.ledger import Ledger
from medscan.scan.options import ScanOptions
from medscan.scan.profile import Clock
from medscan.scan.routing import SEQUENCE
from medscan.scan.score import AUTO, Scorer, device_errors
from medscan.scan.settle import settled

if TYPE_CHECKING:
    from medscan.clip import Backbone


Found = ArchiveFile | Outcome
Progress = Callable[[int], None]
"""Is told how many files were looked at."""


def pseudonyms_of(options: ScanOptions, key: bytes) -> Pseudonyms:
    """How a scan writes identities; keeps the words that its detectors are routed by."""
    domains = [detector.domain for _, detector in options.detectors]
    words = {word.upper() for d in domains for word in (d.modality, d.body_part, d.sequence)}
    return Pseudonyms(
        key, tuple(sorted(words - {""})), SEQUENCE, options.identify, options.hashes_paths
    )


class _Cache:
    """The ledger as a cache of headers: under pseudonyms, each with the rule that made it."""

    def __init__(self, ledger: Ledger, pseudonyms: Pseudonyms) -> None:
        self.ledger, self.pseudonyms, self.rule = ledger, pseudonyms, pseudonyms.rule

    def get(self, files: Sequence[ArchiveFile]) -> list[str | None]:
        found = self.ledger.get([self.pseudonyms.file(file) for file in files])
        return [t.removeprefix(self.rule) if t and t.startswith(self.rule) else None for t in found]

    def put(self, headers: Iterable[tuple[ArchiveFile, str]]) -> None:
        rows = ((self.pseudonyms.file(file), f"{self.rule}{text}") for file, text in headers)
        self.ledger.put(rows)

    def recall(self, name: str) -> bytes | None:
        return self.ledger.recall(self._keyed(name))

    def remember(self, name: str, catalogue: bytes) -> None:
        self.ledger.remember(self._keyed(name), catalogue)

    def _keyed(self, name: str) -> str:
        """Whoever has the ledger cannot try out which paths a catalogue is of."""
        return self.pseudonyms.digest(name, 64)


@dataclass(frozen=True, slots=True)
class Walk:
    """What is there; what the scan itself writes does not belong to it.

    Parameters
    ----------
    found : list of ArchiveFile or Outcome
    begun_ns : int
        Nanoseconds since the epoch: what was written later is young.
    """

    found: list[Found]
    begun_ns: int

    def digest(self, options: ScanOptions, pseudonyms: Pseudonyms) -> str:
        """The same for the same files, as far as names, sizes and times tell, and headers."""
        name = archive.digest_of(self.found, plane_of(options), pseudonyms.rule)
        return pseudonyms.digest(name, 64)


def walk(options: ScanOptions, progress: Progress = lambda _: None) -> Walk:
    """Find every file of the archives; tells `progress` of each."""
    begun_ns = time.time_ns()
    found = _told(archive.walk_all(options.roots), progress)
    tops = [root.resolve() for root in options.roots]
    homes = {path.resolve() for output in options.outputs for path in output.resolve().parents}
    if homes.isdisjoint(tops):
        return Walk(list(found), begun_ns)
    is_own = options.own()
    return Walk([item for item in found if not is_own(_file(item).full)], begun_ns)


def _told(found: Iterable[Found], progress: Progress) -> Iterator[Found]:
    """Tell now and then how many there are by now."""
    for count, item in enumerate(found):
        if not count % 256:
            progress(count)
        yield item


def _file(item: Found) -> ArchiveFile:
    return item.file if isinstance(item, Outcome) else item


def catalogue_of(
    options: ScanOptions,
    ledger: Ledger | None,
    pseudonyms: Pseudonyms,
    walked: Walk | None = None,
    progress: Progress = lambda _: None,
) -> tuple[Catalogue, int]:
    """Index the archives; they are walked unless they have been.

    What `progress` raises ends it; headers that were read by then are kept.

    Returns
    -------
    (Catalogue, int)
        Of the settled studies, and the number of those that are still arriving.
    """
    walked = walked or walk(options)
    try:
        catalogue = archive.index(
            options.roots,
            plane=plane_of(options),
            cache=_Cache(ledger, pseudonyms) if ledger else None,
            progress=progress,
            workers=options.workers,
            pseudonyms=pseudonyms,
            timeout_s=options.file_timeout_s,
            walked=walked.found,
            shard=options.shard,
        )
    finally:
        if ledger is not None:
            ledger.commit()
    return settled(catalogue, options.settle_s, walked.begun_ns)


def plane_of(options: ScanOptions) -> Plane | None:
    """Plane to cut volumes in: the one asked for, else the one that all detectors agree on."""
    wanted = {detector.domain.plane for _, detector in options.detectors}
    if options.plane is not None or len(wanted) != 1:
        return options.plane
    plane = wanted.pop()
    return Plane(plane) if plane else None


@contextmanager
def loaded_scorers(options: ScanOptions, clock: Clock | None = None) -> Iterator[dict[str, Scorer]]:
    """A scorer for each detector, by its hash; detectors of one backbone and size share it.

    Raises
    ------
    medscan.errors.DeviceError
        The device has no room for them, or is lost.
    """
    from medscan.clip.device import choose_device

    device = choose_device(options.device)
    with Lanes(device) as lanes:  # opened first: it also decides how sentences are computed
        with device_errors():
            scorers = _scorers(options, device, lanes, clock)
        yield scorers


def _scorers(
    options: ScanOptions, device: str, lanes: Lanes, clock: Clock | None
) -> dict[str, Scorer]:
    batch = options.batch_size or AUTO[device.split(":")[0]]
    backbones: dict[tuple[Any, ...], Backbone] = {}
    scorers = {}
    for path, detector in options.detectors:
        known = (detector.backbone, *detector.tower.values())
        if known not in backbones:
            backbones[known] = detector.load_backbone(device=device, precision=options.precision)
        method = detector.load_method(path, backbones[known])
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
