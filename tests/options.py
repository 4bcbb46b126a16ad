"""Options of a scan from plain names: a test says only what it is about."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from medscan import detector
from medscan.options import Budget, Compute, Inputs, Outputs, Privacy, ScanOptions

GROUPS = {
    "inputs": Inputs,
    "outputs": Outputs,
    "compute": Compute,
    "privacy": Privacy,
    "budget": Budget,
}
GROUP_OF = {field.name: name for name, group in GROUPS.items() for field in fields(group)}


def scan_options(**values: Any) -> ScanOptions:
    """Options with some fields, by name, whichever group they are in."""
    made = {name: group(**_of(name, values)) for name, group in GROUPS.items()}
    return ScanOptions(**made)


def small_scan(root: Path, detector_file: Path, folder: Path) -> ScanOptions:
    """A scan of `root` into results.h5 of a folder, with the key of all tests."""
    (folder / "key").write_text("5a" * 32)
    return scan_options(
        roots=(root,),
        out=folder / "results.h5",
        detectors=((detector_file, detector.read(detector_file)),),
        named=True,
        device="cpu",
        batch_size=4,
        workers=0,
        hash_paths=False,
        key_file=folder / "key",
    )


def changed(options: ScanOptions, **values: Any) -> ScanOptions:
    """The options with some fields changed."""
    groups = {name: replace(getattr(options, name), **_of(name, values)) for name in GROUPS}
    return replace(options, **groups)


def _of(group: str, values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if GROUP_OF[name] == group}
