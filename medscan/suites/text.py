"""A suite's figures as tables of text, for the screen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from medscan.suites.declare import FIGURES, Cell
from medscan.suites.table import SuiteRow, format_figure

COLUMNS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "f1_max": "best F1",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
}
"""Figures of a suite, with the words for them."""

Table = list[list[str]]
"""A table; its first row is the head."""


def suite_tables(rows: Iterable[SuiteRow]) -> Iterator[tuple[str, Table]]:
    """Yield the name and the table of each data set, with the figures that it has."""
    for data, group in groupby(rows, lambda row: row.data):
        members = list(group)
        figures = [f for f in FIGURES if any(not math.isnan(row.mean[f]) for row in members)]
        head = ["", "K", "n", *(COLUMNS[f] for f in figures)]
        yield data, [head, *(_suite_row(row, figures) for row in members)]


def _suite_row(row: SuiteRow, figures: list[str]) -> list[str]:
    shots = "" if row.shots is None else str(row.shots)
    reference = "  published" if shots else row.method.strip("()")
    name = row.method if row.draws else reference
    values = [format_figure(row.mean[f], row.spread[f]) for f in figures]
    return [name, shots, str(row.draws or ""), *values]


def cell_line(cell: Cell, record: dict[str, Any]) -> str:
    """Return a line about a cell of a suite that was measured just now."""
    levels = {word: record[level] for word, level in (("image", "slices"), ("pixel", "pixels"))}
    values = {word: level["auroc"]["value"] for word, level in levels.items() if level}
    text = ", ".join(f"{w} AUROC {'-' if v is None else f'{v:.3f}'}" for w, v in values.items())
    seconds = f"fit {record['fit_seconds']:.0f} s, test {record['test_seconds']:.0f} s"
    return f"{cell.name}: {text}; {seconds}"
