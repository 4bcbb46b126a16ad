"""Tokens -> anomaly map on the patch grid and image score; one module a published system."""

import math
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
    for setting, value in changes.items():
        _check(name, setting, value, getattr(kind(), setting))
    return replace(settings, **changes)


def _check(method: str, setting: str, value: Any, default: Any) -> None:
    """Refuse a value of another kind than the default's, or a number out of range."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fitting = {
        bool: isinstance(value, bool),
        int: number and isinstance(value, int) and value >= 0,
        float: number and 0 <= value < math.inf,
        str: isinstance(value, str),
    }.get(type(default), value is None or isinstance(value, (bool, int)))
    if not fitting or (setting in ("epochs", "batch") and value < 1):
        raise UsageError(
            f"method {method}: {setting}={value!r} does not fit; its default is {default!r}"
        )


def build(name: str, backbone: Backbone, organ: str, settings: Any, *, masked: bool) -> Method:
    """A method with untrained parts on a backbone."""
    return METHODS[name][0](backbone, organ, settings, masked=masked)


__all__ = ["METHODS", "Batch", "Levels", "Method", "build", "settings_of"]
