"""What a history shows, as a page with a line per stratum, and as plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup

from medscan.files import replacing
from medscan.monitoring.lines import Line, Watched
from medscan.monitoring.watch import NIGHTS
from medscan.report import render
from medscan.schema import finite_or_none

SIZE = (280, 40)
"""Width and height of a line."""


def plain(watched: Watched) -> dict[str, Any]:
    """All of it as JSON has it; what is undefined is null."""
    facts = asdict(watched)
    for alarm, found in zip(facts["alarms"], watched.alarms, strict=True):
        alarm["sentence"] = found.sentence
    finite: dict[str, Any] = finite_or_none(facts)
    return finite


def write_page(watched: Watched, path: Path) -> None:
    """Write the page, which holds everything.

    Raises
    ------
    medscan.errors.DiskError
        If it cannot be written.
    """
    alarmed = {alarm.stratum for alarm in watched.alarms}
    rows = [
        {"line": line, "alarm": line.stratum in alarmed} | _numbers(line) | _paths(line, watched)
        for line in watched.lines
    ]
    context = {
        "watched": watched,
        "rows": rows,
        "nights": NIGHTS,
        "size": SIZE,
        "rate": f"{100 * watched.rate:g} %",
    }
    with replacing(path) as aside:
        aside.write_text(render("monitor.html", context, root=None), "utf-8")


def _numbers(line: Line) -> dict[str, Any]:
    studies = sum(line.studies)
    counted = ("flagged", "uncertain", "unlike", "failed")
    shares = {name: sum(getattr(line, name)) for name in counted}
    highest = max(line.evidence)
    evidence = "> 1000" if highest > 1000 else f"{highest:.3f}"
    return {"studies": studies, "evidence": evidence} | {
        name: f"{100 * count / studies:.1f} %" for name, count in shares.items()
    }


def _paths(line: Line, watched: Watched) -> dict[str, Markup]:
    """Outlines of the share of flagged studies and of the median score, all nights wide."""
    place = {night: number for number, night in enumerate(watched.nights)}
    at = [place[night] for night in line.nights]
    width = max(len(watched.nights) - 1, 1)
    shares = [f / n for f, n in zip(line.flagged, line.studies, strict=True)]
    low, high = _ends(line.medians)
    scores = [(score - low) / (high - low) for score in line.medians]
    return {"flags": _outline(at, shares, width), "scores": _outline(at, scores, width)}


def _ends(values: Sequence[float]) -> tuple[float, float]:
    known = [value for value in values if not math.isnan(value)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _outline(at: Sequence[int], values: Sequence[float], width: int) -> Markup:
    """A path through values from 0 to 1; where one is unknown, it ends and begins anew."""
    points, pen = [], "M"
    for place, value in zip(at, values, strict=True):
        if math.isnan(value):
            pen = "M"
            continue
        x, y = SIZE[0] * place / width, (SIZE[1] - 4) * (1 - value) + 2
        points.append(f"{pen}{x:.1f} {y:.1f}")
        pen = "L"
    return Markup("".join([*points, "h.1"] if points else []))  # noqa: S704 - numbers alone
