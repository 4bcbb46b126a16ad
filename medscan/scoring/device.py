"""What scanned a stack and how, in words that identify nobody: what to watch scores by."""

from __future__ import annotations

from math import floor, log10

from medscan.archive import Facts, Stack
from medscan.routing import describe

NUMBERS = {"EchoTime": "TE", "InversionTime": "TI", "RepetitionTime": "TR"}
"""Elements of a protocol, in milliseconds, and what they are called."""
_MOST = 1e6
"""Milliseconds, or millimetres, beyond which a number is none of a protocol."""


def device_of(stack: Stack) -> list[str]:
    """Manufacturer, model, software versions, scanner and protocol; empty where nobody says it.

    The scanner is a pseudonym of its serial number or station, unless identities are kept. The
    protocol is what the image is for routing, with its times and spacing rounded to two digits:
    they differ a little from patient to patient.
    """
    facts = stack.facts
    return [
        facts.get("Manufacturer", ""),
        facts.get("ManufacturerModelName", ""),
        facts.get("SoftwareVersions", "").replace("\\", " "),
        facts.get("DeviceSerialNumber") or facts.get("StationName", ""),
        " ".join([str(describe(stack)), *_times(facts), *_spacing(stack)]),
    ]


def _times(facts: Facts) -> list[str]:
    return [
        f"{name} {rounded(float(facts[keyword])):g}"
        for keyword, name in NUMBERS.items()
        if 0 < float(facts.get(keyword) or 0) < _MOST
    ]


def _spacing(stack: Stack) -> list[str]:
    known = stack.slice_spacing is not None and 0 < stack.slice_spacing < _MOST
    return [f"{rounded(stack.slice_spacing or 0):g} mm"] if known else []


def rounded(value: float) -> float:
    """A number above 0, to two significant digits."""
    return round(value, 1 - floor(log10(value)))
