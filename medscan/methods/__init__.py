"""Tokens -> anomaly map on the patch grid and image score; one module a published system."""

from dataclasses import fields, replace
from typing import Any

from medscan.clip import Backbone
from medscan.errors import UsageError
from medscan.methods.base import Batch, Levels, Method
from medscan.methods.mvfa import PAPER as MVFA_PAPER
from medscan.methods.mvfa import Mvfa, MvfaSettings

METHODS: dict[str, tuple[type[Mvfa], type[MvfaSettings], dict[str, Any]]] = {
    "mvfa": (Mvfa, MvfaSettings, MVFA_PAPER),
}
"""Name -> class, settings, and the settings that reproduce the published procedure."""


def settings_of(name: str, protocol: str = "clean", **changes: Any) -> MvfaSettings:
    """Settings of a method.

    Parameters
    ----------
    name : str
        A key of `METHODS`.
    protocol : {"clean", "paper"}
        Honest defaults, or the published procedure with its quirks.
    **changes
        Settings by name that differ from the protocol's.

    Raises
    ------
    UsageError
        Unknown method, protocol or setting.
    """
    if name not in METHODS:
        raise UsageError(f"method {name}: choose one of {', '.join(METHODS)}")
    if protocol not in ("clean", "paper"):
        raise UsageError(f"protocol {protocol}: choose clean or paper")
    _, kind, paper = METHODS[name]
    known = {field.name for field in fields(kind)}
    wrong = sorted(set(changes) - known)
    if wrong:
        raise UsageError(
            f"method {name} has no setting {', '.join(wrong)}; it has {', '.join(sorted(known))}"
        )
    settings = replace(kind(), **(paper if protocol == "paper" else {}))
    return replace(settings, **changes)


def build(name: str, backbone: Backbone, organ: str, settings: Any, *, masked: bool) -> Method:
    """A method with untrained parts on a backbone."""
    return METHODS[name][0](backbone, organ, settings, masked=masked)


__all__ = ["METHODS", "Batch", "Levels", "Method", "build", "settings_of"]
