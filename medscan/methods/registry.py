"""The methods by name, and their settings by protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from medscan.choices import MOST_TILES
from medscan.clip import LARGEST_SIDE, Backbone, Need
from medscan.errors import UsageError
from medscan.methods import cocoop, conrad, discriminant, madclip, medvmad, mvfa, patchcore, winclip
from medscan.methods.base import Method, Settings
from medscan.text import printable


@dataclass(frozen=True, slots=True)
class System:
    """A method, its settings, and how protocols change them.

    Parameters
    ----------
    method, settings : type
    paper : dict
        Settings that reproduce the published procedure.
    zero_shot : dict or None
        Settings for learning from other data sets than those that will be scored; None if the
        method cannot.
    """

    method: type[Method]
    settings: type[Settings]
    paper: dict[str, Any]
    zero_shot: dict[str, Any] | None = None


METHODS: dict[str, System] = {
    # Of a method of our own there is no other procedure.
    "discriminant": System(discriminant.Discriminant, discriminant.DiscriminantSettings, {}),
    "mvfa": System(mvfa.Mvfa, mvfa.MvfaSettings, mvfa.PAPER, mvfa.ZERO_SHOT),
    "madclip": System(madclip.Madclip, madclip.MadclipSettings, madclip.PAPER),
    "patchcore": System(patchcore.Patchcore, patchcore.PatchcoreSettings, patchcore.PAPER),
    "clip": System(winclip.WinCLIP, winclip.WinCLIPSettings, winclip.PAPER, {}),
    "medvmad": System(medvmad.Medvmad, medvmad.MedvmadSettings, medvmad.PAPER, {}),
    "conrad": System(conrad.Conrad, conrad.ConradSettings, conrad.PAPER, {}),
    "cocoop": System(cocoop.Cocoop, cocoop.CocoopSettings, cocoop.PAPER, {}),
}
"""System of each name."""

COUNTS = ("batch", "context", "depth", "neighbourhood", "size", "tiles", "windows")
"""Settings that must be at least 1."""
MOST = {
    "bank_rows": 10**7,
    "batch": 4096,
    "context": 64,
    "depth": 128,
    "neighbourhood": 31,
    "size": LARGEST_SIDE,
    "tiles": MOST_TILES,
    "visual_tokens": 64,
    "windows": 32,
}
"""Largest value of settings that cost time or memory; 1,000,000 for all other numbers."""


def settings_of(
    name: str, protocol: str = "clean", zero_shot: bool = False, /, **changes: Any
) -> Settings:
    """Build the settings of a method.

    Parameters
    ----------
    name : str
        A key of `METHODS`.
    protocol : {"clean", "paper"}
        Defaults that use no test data, or the published procedure with its quirks.
    zero_shot : bool
        For learning from other data sets than those that will be scored.
    **changes
        Settings by name that differ from the protocol's.

    Raises
    ------
    UsageError
        If a method, protocol or setting is unknown, or a value has the wrong type or range.
    """
    if protocol not in ("clean", "paper"):
        raise UsageError(f"protocol {protocol}: choose clean or paper")
    system = system_of(name)
    valid = {f.name for f in fields(system.settings)}
    if unknown := sorted(set(changes) - valid):
        raise UsageError(
            f"method {name} has no setting {printable(', '.join(unknown), 80)}; it has "
            f"{', '.join(sorted(valid))}"
        )
    for setting, value in changes.items():
        _check(name, system.settings, setting, value)
    if zero_shot and system.zero_shot is None:
        able = ", ".join(n for n, s in METHODS.items() if s.zero_shot is not None)
        raise UsageError(f"method {name} does not learn from other data sets; {able} do")
    base = system.paper if protocol == "paper" else {}
    elsewhere = system.zero_shot or {} if zero_shot else {}
    return replace(system.settings(), **(base | elsewhere | changes))


def system_of(name: str) -> System:
    """Return the system of a method's name.

    Raises
    ------
    UsageError
        If no method has this name.
    """
    if name not in METHODS:
        raise UsageError(f"method {printable(name, 80)}: choose one of {', '.join(METHODS)}")
    return METHODS[name]


def _check(method: str, kind: type[Settings], setting: str, value: Any) -> None:
    """Refuse a value of another type than the default's, or out of range."""
    default, hint = getattr(kind(), setting), get_type_hints(kind)[setting]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fitting = {
        bool: isinstance(value, bool),
        int: number and isinstance(value, int) and value >= 0,
        float: number and value >= 0,
        str: isinstance(value, str),
    }.get(type(default), type(value) in get_args(hint))
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if choices:
        fitting = value in choices
    least = 1 if setting in COUNTS or (setting == "epochs" and default) else 0
    most = 0 if setting == "epochs" and not default else MOST.get(setting, 10**6)
    if not fitting or (number and not least <= value <= most):
        advice = f"choose one of {', '.join(choices)}" if choices else f"its default is {default!r}"
        advice += f" and its largest value {most}" * (number and value > most)
        shown = printable(repr(value), 80)
        raise UsageError(f"method {method}: {setting}={shown} does not fit; {advice}")


def check_serves(backbone: Backbone, name: str, settings: Any) -> None:
    """Raise UsageError if the backbone lacks what a method with these settings needs."""
    needs = {known: system.method.needs for known, system in METHODS.items()}
    bare = (Need.NO_ATTENTION,) if getattr(settings, "attend", True) is False else ()
    backbone.check_serves(name, needs[name] + bare, needs)


def build(
    name: str, backbone: Backbone, organs: Sequence[str] | str, settings: Any, *, masked: bool
) -> Method:
    """Build an untrained method on a backbone; `organs` as in `Method`, or a single one.

    Raises
    ------
    UsageError
        If the backbone lacks what the method needs.
    """
    check_serves(backbone, name, settings)
    words = (organs,) if isinstance(organs, str) else tuple(organs)
    return system_of(name).method(backbone, words, settings, masked=masked)
