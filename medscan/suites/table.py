"""The cells of a suite as one table: mean and spread over the seeds."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medscan.files import replacing
from medscan.suites.declare import FIGURES, Suite
from medscan.text import cell


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """Row of the table: a method at K shots on a data set, or a reference.

    Parameters
    ----------
    data, method : str
    shots : int or None
        None for a trivial feature.
    draws : int
        Number of measured seeds; 0 for a reference.
    mean, spread : dict of str to float
        Keys as in `FIGURES`; NaN if unknown. The spread is the standard deviation over the seeds.
    """

    data: str
    method: str
    shots: int | None
    draws: int
    mean: dict[str, float]
    spread: dict[str, float]


def rows_of(suite: Suite, records: Iterable[dict[str, Any]]) -> list[SuiteRow]:
    """Rows in the suite's order; references stand beside the measured rows."""
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for record in records:
        cell = record["cell"]
        groups.setdefault((cell["data"]["name"], cell["shots"], cell["method"]), []).append(record)
    rows = []
    for data in suite.data:
        if data.trivial is not None:
            rows.append(
                _reference(data.name, "(trivial feature)", None, {"image_auroc": data.trivial})
            )
        for (name, shots, method), members in groups.items():
            if name != data.name:
                continue
            rows.append(_row(name, method, shots, members))
            rows += [
                _reference(name, f"({method}, published)", shots, _published(entry))
                for entry in suite.published
                if (entry["data"], entry["method"], entry["shots"]) == (name, method, shots)
            ]
    return rows


def _published(entry: dict[str, Any]) -> dict[str, float]:
    """Published figures as fractions; papers print percent."""
    return {name: entry[name] / 100 for name in FIGURES if name in entry}


def _reference(data: str, method: str, shots: int | None, values: dict[str, float]) -> SuiteRow:
    mean = {name: values.get(name, math.nan) for name in FIGURES}
    return SuiteRow(data, method, shots, 0, mean, dict.fromkeys(FIGURES, math.nan))


def _row(data: str, method: str, shots: int, members: list[dict[str, Any]]) -> SuiteRow:
    mean, spread = {}, {}
    for name, (part, figure) in FIGURES.items():
        values = [
            float(m[part][figure]["value"])
            for m in members
            if m[part] and m[part][figure]["value"] is not None
        ]
        mean[name] = statistics.fmean(values) if values else math.nan
        spread[name] = statistics.stdev(values) if len(values) > 1 else math.nan
    return SuiteRow(data, method, shots, len(members), mean, spread)


def write_table(rows: list[SuiteRow], path: Path) -> None:
    """Write CSV: data, method, shots, draws, and mean and standard deviation of each figure."""
    with replacing(path) as aside, aside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        columns = [c for name in FIGURES for c in (name, f"{name}_sd")]
        writer.writerow(["data", "method", "shots", "draws", *columns])
        for row in rows:
            pairs = [(row.mean[name], row.spread[name]) for name in FIGURES]
            figures = ["" if math.isnan(v) else f"{v:.4f}" for pair in pairs for v in pair]
            writer.writerow([cell(row.data), row.method, row.shots, row.draws, *figures])


def format_figure(value: float, spread: float) -> str:
    """Format as `0.912±0.014`; a dash if unknown."""
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if math.isnan(spread) else f"{value:.3f}±{spread:.3f}"
