"""Examine whether this installation can scan, and with what. Nothing here opens a socket."""

from __future__ import annotations

import datetime
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medscan import clip, detector
from medscan.decoding import Syntax, syntaxes
from medscan.errors import MedscanError
from medscan.options import Inputs, Outputs, ScanOptions
from medscan.planning import check_outputs
from medscan.scanning import versions
from medscan.scoring import batch_for, tower_of

DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Paths that exist if there is a GPU driver: only then is torch imported to ask for details."""
ROOM = 4 << 20
"""Bytes that must be free in addition to the size of the results: they are rewritten whole."""


@dataclass(slots=True)
class Health:
    """Everything that a scan depends on; `medscan doctor --json` prints it.

    Parameters
    ----------
    versions : dict
        Versions of medscan, Python and libraries; empty for a library that is missing.
    devices : list of dict
        name, model, memory_bytes, free_bytes (of memory), batch_size (estimate of the slices that
        fit; 0 for none or unknown), and for the processor cores.
    output, temporary : dict
        folder, writable, free_bytes, for the results and for temporary files of decoders.
    time : dict
        zone, utc_offset, now.
    backbones, detectors : list of dict
        name, hash, licence, path; detectors also domain, method, backbone and backbone_hash.
    syntaxes : list of Syntax
    settings : list of dict
        name, value and origin of what the environment and the site's defaults set.
    notes : list of str
        Faults that a scan can run with.
    problems : list of str
        Faults that keep a scan from running.
    """

    versions: dict[str, str] = field(default_factory=dict)
    devices: list[dict[str, Any]] = field(default_factory=list)
    output: dict[str, Any] = field(default_factory=dict)
    temporary: dict[str, Any] = field(default_factory=dict)
    time: dict[str, str] = field(default_factory=dict)
    backbones: list[dict[str, str]] = field(default_factory=list)
    detectors: list[dict[str, str]] = field(default_factory=list)
    syntaxes: list[Syntax] = field(default_factory=list)
    settings: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def examine(
    outputs: Outputs, named: Sequence[Path] = (), settings: Sequence[dict[str, str]] = ()
) -> Health:
    """Examine everything that a scan needs.

    Parameters
    ----------
    outputs : Outputs
        What a scan would write; a test file in the folder of the results is removed again.
    named : sequence of Path
        Detectors that a scan would use; none: those that are shipped.
    settings : sequence of dict
        See `Health`.
    """
    health = Health(time=_time(), syntaxes=syntaxes(), settings=list(settings))
    _examine_libraries(health)
    _examine_devices(health)
    _examine_output(health, outputs)
    _examine_temporary(health)
    _examine_backbones(health)
    _examine_detectors(health, named)
    _examine_batches(health)
    return health


def _time() -> dict[str, str]:
    """Return the local time, by which cron starts a scan."""
    now = datetime.datetime.now().astimezone()
    link = os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    return {
        "zone": os.environ.get("TZ") or link or str(now.tzname()),
        "utc_offset": now.strftime("%z"),
        "now": now.isoformat(timespec="seconds"),
    }


def _examine_libraries(health: Health) -> None:
    health.versions = versions()
    health.problems += [f"{n} is not installed" for n, v in health.versions.items() if not v]


def _examine_devices(health: Health) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0))
    model = f"{platform.machine()} {sys.platform}"
    cpu = {"name": "cpu", "model": model, "cores": cores, "memory_bytes": memory}
    health.devices = [cpu | {"free_bytes": _available(memory)}]
    if not (health.versions["torch"] and any(os.path.lexists(path) for path in DRIVERS)):
        return
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library is missing
        health.problems.append(f"torch cannot be loaded ({error})")
        return
    for number in range(torch.cuda.device_count()):
        try:
            health.devices.append(_gpu(number))
        except RuntimeError as error:  # for example, the driver is too old
            reason = (str(error).splitlines() or ["no reason given"])[0]
            health.notes.append(f"cuda:{number} cannot be used ({reason})")
    if not torch.cuda.device_count():
        health.notes.append("there is a GPU driver, but this PyTorch sees no GPU")


def _gpu(number: int) -> dict[str, Any]:
    import torch

    device = torch.cuda.get_device_properties(number)
    gpu = {"name": f"cuda:{number}", "model": device.name, "memory_bytes": device.total_memory}
    return gpu | {"free_bytes": torch.cuda.mem_get_info(number)[0]}


def _available(memory: int) -> int:
    """Return the bytes of memory that are free or taken by caches only."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        values = dict(line.split(":", 1) for line in lines if ":" in line)
        return int(values["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return memory


def _examine_batches(health: Health) -> None:
    """Estimate the slices that fit on each device, with the largest backbone of any detector."""
    used = {row["backbone"] for row in health.detectors}
    maybe_towers = [tower_of(clip.find(name)) for name in sorted(used)]
    towers = [tower for tower in maybe_towers if tower is not None]
    for device in health.devices:
        batches = [
            batch_for(device["free_bytes"], tower, device.get("cores", 1)) for tower in towers
        ]
        device["batch_size"] = min(batches, default=0)
        if batches and not device["batch_size"]:
            health.notes.append(f"{device['name']} has too little free memory for one slice")


def _examine_temporary(health: Health) -> None:
    folder = Path(tempfile.gettempdir())
    health.temporary = {"folder": str(folder), "writable": False, "free_bytes": 0}
    try:
        with tempfile.TemporaryFile(dir=folder):
            health.temporary["writable"] = True
        health.temporary["free_bytes"] = shutil.disk_usage(folder).free
    except OSError as error:
        health.notes.append(
            f"{folder} cannot be written to ({error.strerror}): lossless JPEG cannot be decoded"
        )


def _examine_output(health: Health, outputs: Outputs) -> None:
    out = outputs.out
    folder = out.parent.resolve()
    health.output = {"folder": str(folder), "writable": False, "free_bytes": 0}
    try:
        check_outputs(ScanOptions(Inputs(), outputs))
        with tempfile.TemporaryFile(dir=folder):
            health.output["writable"] = True
        free = shutil.disk_usage(folder).free
        needed = ROOM + (out.stat().st_size if out.exists() else 0)
    except MedscanError as error:
        health.problems.append(str(error))
    except OSError as error:
        health.problems.append(f"{folder} cannot be written to ({error.strerror})")
    else:
        health.output["free_bytes"] = free
        if free < needed:
            health.problems.append(f"{folder} has {free >> 20} MiB free of {needed >> 20} needed")


def _examine_backbones(health: Health) -> None:
    try:
        for bundle in clip.bundles():
            row = {"name": bundle.name, "hash": bundle.digest(), "licence": bundle.licence}
            health.backbones.append(row | {"path": str(bundle.folder)})
    except (MedscanError, OSError) as error:
        health.notes.append(str(error))


def _examine_detectors(health: Health, named: Sequence[Path]) -> None:
    """List the detectors that a scan uses by default, and check that their backbones are here."""
    paths = named or detector.shipped()
    if not paths:
        health.problems.append("there is no detector; fit one with `medscan fit`")
    for path in paths:
        try:
            health.detectors.append(_detector(detector.find(path), health))
        except MedscanError as error:
            health.problems.append(str(error))
        except OSError as error:
            health.problems.append(f"detector {path}: {error.strerror}")


def _detector(path: Path, health: Health) -> dict[str, str]:
    shipped = detector.read(path)
    row = {
        "name": shipped.name,
        "hash": shipped.digest,
        "licence": shipped.licence,
        "path": str(path),
        "domain": str(shipped.domain),
        "method": shipped.method,
        "backbone": shipped.backbone,
        "backbone_hash": shipped.backbone_digest,
    }
    bundle = clip.find(shipped.backbone)
    row["backbone_licence"] = shipped.backbone_licence or bundle.licence
    clip.check_safetensors(bundle.weights)
    digests = {backbone["path"]: backbone["hash"] for backbone in health.backbones}
    digest = digests.get(str(bundle.folder)) or bundle.digest()
    if digest != shipped.backbone_digest:
        health.problems.append(
            f"detector {path} was fitted on backbone {shipped.backbone} with hash "
            f"{shipped.backbone_digest[:12]}, but the one here has {digest[:12]}"
        )
    return row
