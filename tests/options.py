"""Options of a scan from plain names: a test says only what it is about."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

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


def changed(options: ScanOptions, **values: Any) -> ScanOptions:
    """The options with some fields changed."""
    groups = {name: replace(getattr(options, name), **_of(name, values)) for name in GROUPS}
    return replace(options, **groups)


def _of(group: str, values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if GROUP_OF[name] == group}
