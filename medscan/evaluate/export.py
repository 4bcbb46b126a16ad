"""Writing evaluations: plain values, JSON and CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from medscan.detector import Detector
from medscan.evaluate.compare import Comparison, Pair
from medscan.evaluate.figures import Evaluation
from medscan.files import make_folder, replacing
from medscan.metrics import Estimate
from medscan.schema import finite_or_none
from medscan.text import cell

LEVELS = ("slices", "studies", "pixels", "lesions")
"""Parts of an evaluation with figures."""


def to_plain(evaluation: Evaluation) -> dict[str, Any]:
    """Figures as nested dicts, without the rows of slices; NaN and infinities become None."""
    parts = {level: getattr(evaluation, level) for level in LEVELS}
    facts: dict[str, Any] = {
        level: None if part is None else asdict(part) for level, part in parts.items()
    }
    if evaluation.strata:
        facts["strata"] = [asdict(stratum) for stratum in evaluation.strata]
    finite: dict[str, Any] = finite_or_none(facts)
    return finite


def write_json(measured: Comparison, request: dict[str, Any], path: Path) -> None:
    """Write all figures, the request that they answer, and the identity of each detector.

    The figures of a single detector stand at the top; of several, in the list `detectors`, with
    their differences in `pairs`.
    """
    parts = [
        {"detector": _identity(fitted)} | to_plain(found)
        for fitted, found in zip(measured.detectors, measured.evaluations, strict=True)
    ]
    facts: dict[str, Any] = {"asked": request}
    if len(parts) == 1:
        facts |= parts[0]
    else:
        pairs = [_plain_pair(pair, measured.names) for pair in measured.pairs]
        facts |= {"detectors": parts, "pairs": pairs}
    make_folder(path.parent)
    with replacing(path) as aside:
        aside.write_text(json.dumps(facts, indent=1) + "\n")


def _identity(fitted: Detector) -> dict[str, str]:
    return {
        "name": fitted.name,
        "sha256": fitted.digest,
        "method": fitted.method,
        "protocol": fitted.protocol,
        "selection": fitted.selection,
        "backbone": fitted.backbone,
        "backbone_sha256": fitted.backbone_digest,
        "precision": fitted.precision,
    }


def _plain_pair(pair: Pair, names: Sequence[str]) -> dict[str, Any]:
    plain: dict[str, Any] = finite_or_none(asdict(pair))
    return plain | {"first": names[pair.first], "second": names[pair.second]}


def write_csv(measured: Comparison, path: Path) -> None:
    """Write a row per slice: name, label, and the score of each detector.

    Patients are left out; names are escaped.
    """
    scores = zip(*([row.score for row in e.rows] for e in measured.evaluations), strict=True)
    names = ["score"] if len(measured.detectors) == 1 else list(map(cell, measured.names))
    rows = zip(measured.evaluations[0].rows, scores, strict=True)
    lines = [(cell(row.name), row.label, *map(repr, values)) for row, values in rows]
    _write_rows(path, ("name", "label", *names), lines)


def write_tables(measured: Comparison, folder: Path) -> list[Path]:
    """Write figures.csv, and where there are some strata.csv and differences.csv.

    Every line is one figure with its interval, so that tables of several calls can be joined.
    """
    figure = ("figure", "value", "low", "high")
    counts = ("normals", "abnormals", "patients")
    tables = {
        "figures": (("detector", "level", *figure), _figure_lines),
        "strata": (("detector", "variable", "stratum", *counts, *figure), _stratum_lines),
        "differences": (("first", "second", "level", *figure, "p"), _difference_lines),
    }
    paths = []
    for name, (head, lines) in tables.items():
        found = list(lines(measured))
        if found:
            paths.append(folder / f"{name}.csv")
            _write_rows(paths[-1], head, found)
    return paths


def _figure_lines(measured: Comparison) -> Iterator[tuple[str, ...]]:
    for name, found in zip(measured.names, measured.evaluations, strict=True):
        for level in LEVELS[:-1]:
            part = getattr(found, level)
            for field in fields(part) if part is not None else ():
                if isinstance(value := getattr(part, field.name), Estimate):
                    yield (cell(name), level, field.name, *_numbers(value))
        if (lesions := found.lesions) is not None:
            for rate, value in zip(lesions.rates, lesions.sensitivities, strict=True):
                yield (cell(name), "lesions", f"found at {rate:g}", *_numbers(value))
            yield (cell(name), "lesions", "mean found", *_numbers(lesions.mean))


def _stratum_lines(measured: Comparison) -> Iterator[tuple[str, ...]]:
    for name, found in zip(measured.names, measured.evaluations, strict=True):
        for one in found.strata:
            counts = [str(n) for n in (one.normals, one.abnormals, one.patients)]
            for figure in ("auroc", "sensitivity", "specificity"):
                values = _numbers(getattr(one, figure))
                yield (cell(name), cell(one.variable), cell(one.value), *counts, figure, *values)


def _difference_lines(measured: Comparison) -> Iterator[tuple[str, ...]]:
    names = [cell(name) for name in measured.names]
    for pair in measured.pairs:
        for one in pair.differences:
            values = (*_numbers(one.value), _number(one.p_value))
            yield (names[pair.first], names[pair.second], one.level, one.figure, *values)


def _numbers(value: Estimate) -> tuple[str, str, str]:
    return _number(value.value), _number(value.low), _number(value.high)


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else ""


def _write_rows(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    make_folder(path.parent)
    with replacing(path) as aside, aside.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(head)
        writer.writerows(rows)
