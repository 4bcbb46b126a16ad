"""Figures by what is known of the images: columns of their table, or elements of their headers."""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, keyword_dict

from medscan import archive
from medscan.archive import ArchiveFile
from medscan.errors import FileError, UsageError
from medscan.evaluate.figures import Row, Stratum
from medscan.evaluate.observe import file_of
from medscan.metrics import Estimate, auroc, bootstrap
from medscan.shots import Item, stem
from medscan.text import printable

Values = Mapping[str, Mapping[str, str]]
"""What is known of the items: variable -> name of an item -> value, empty where not stated."""

FEWEST = 5
"""Patients of each label below which a stratum has no figures."""
MOST = 20
"""Values of a variable that are shown, those of the most images; all others are one stratum."""
UNKNOWN, OTHERS = "(not stated)", "(other values)"
AGES = (18, 40, 65)
"""Years from which on people of a next stratum are."""
_VRS = frozenset(("AS", "CS", "DS", "FD", "FL", "IS", "LO", "SH", "SL", "SS", "UL", "US"))
_OF_PATIENTS = ("PatientAge", "PatientSex", "PatientSize", "PatientWeight", "PregnancyStatus")
"""Elements of group 0010 that do not identify anybody."""
_IDENTIFYING = ("AccessionNumber", "AdmissionID", "RequestedProcedureID", "StudyID")
_COLUMNS = ("path", "case", "volume", "name", "mask", "patient", "label")
"""Columns that say which image it is, or what `evaluate` measures anyway."""
_AGE = re.compile(r"(\d{1,3})([DWMY]?)|(\d{1,3}\.\d+)", re.ASCII)
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0, "": 1.0}


def read_values(data: Path, items: Sequence[Item], names: Sequence[str]) -> Values:
    """Look up variables of the items.

    A variable is a column of the CSV manifest or of cases.csv, or the keyword of a DICOM element;
    of the patient's, "Sex" or "Age" is enough. DICOM files state elements themselves; of other
    formats, what lies beside them does (see medscan-archives(7)).

    Raises
    ------
    UsageError
        If a name is neither, or identifies patients.
    """
    rows = _table(data)
    columns = list(dict.fromkeys(column for row in rows.values() for column in row if column))
    values: dict[str, dict[str, str]] = {}
    keywords: dict[str, str] = {}
    for name in names:
        if name in columns and name not in _COLUMNS:
            keys = {item.name: item.name if data.is_file() else stem(item.path) for item in items}
            found = {i: (rows.get(key, {}).get(name) or "").strip() for i, key in keys.items()}
            values[name] = found
        else:
            keywords[name] = _keyword(name, [c for c in columns if c not in _COLUMNS])
    elements = _elements(data, items, sorted(set(keywords.values()))) if keywords else {}
    for name, keyword in keywords.items():
        values[name] = {item.name: elements.get(item.name, {}).get(keyword, "") for item in items}
    return {name: bands(name, values[name]) for name in names}


def strata_of(
    rows: Sequence[Row], values: Values, draws: int = 1000, seed: int = 0
) -> tuple[Stratum, ...]:
    """Figures of each stratum, by variable and from the value of the most slices down.

    Parameters
    ----------
    rows : sequence of Row
        Slices.
    values : Values
        As `read_values` returns them.
    draws, seed : int
        Bootstrap over patients.
    """
    found = []
    for variable, by_item in values.items():
        of_row = [by_item.get(r.name, by_item.get(file_of(r.name), "")) or UNKNOWN for r in rows]
        counts = Counter(of_row)
        order = sorted(counts, key=lambda value: (-counts[value], value))
        shown = order if len(order) <= MOST else order[: MOST - 1]
        named = [value if value in shown else OTHERS for value in of_row]
        for value in [*shown, OTHERS][: len(set(named))]:
            members = [row for row, own in zip(rows, named, strict=True) if own == value]
            found.append(_stratum(variable, value, members, draws, seed))
    return tuple(found)


def _stratum(variable: str, value: str, rows: list[Row], draws: int, seed: int) -> Stratum:
    labels = np.array([row.label for row in rows])
    scores = np.array([row.score for row in rows])
    patients = np.array([row.patient for row in rows])
    flags = np.array([math.nan if row.flagged is None else row.flagged for row in rows])
    few = min(np.unique(patients[labels == label]).size for label in (0, 1)) < FEWEST

    def estimate(figure: Callable[[np.ndarray], float]) -> Estimate:
        if few:
            return Estimate(math.nan, math.nan, math.nan)
        value = figure(np.arange(len(rows)))
        return Estimate(value, *bootstrap(patients, figure, draws, seed))

    def share(i: np.ndarray, label: int) -> float:
        chosen = flags[i][labels[i] == label] == label
        known = chosen.size and not np.isnan(flags).any()
        return float(chosen.mean()) if known else math.nan

    return Stratum(
        variable,
        value,
        int(np.sum(labels == 0)),
        int(np.sum(labels == 1)),
        int(np.unique(patients).size),
        estimate(lambda i: auroc(labels[i], scores[i])),
        estimate(lambda i: share(i, 1)),
        estimate(lambda i: share(i, 0)),
    )


# --- where values are ---------------------------------------------------------------------------


def _table(data: Path) -> dict[str, dict[str, str]]:
    """Rows of the manifest by path, or of cases.csv by the file's name without suffix."""
    path = data if data.is_file() else data / "cases.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    for key in ("path",) if data.is_file() else ("case", "volume", "name"):
        if rows and key in rows[0]:
            return {row[key] if data.is_file() else Path(row[key]).name: row for row in rows}
    return {}


def _keyword(name: str, columns: Sequence[str]) -> str:
    """Keyword of the DICOM element that a name means."""
    keyword = next((k for k in (name, f"Patient{name}") if k in keyword_dict), None)
    if keyword is None:
        short = [element.removeprefix("Patient") for element in _OF_PATIENTS]
        lower = {k.lower(): k for k in (*keyword_dict, *short, *columns)}
        near = get_close_matches(name.lower()[:80], lower, 1)
        advice = f"did you mean {lower[near[0]]}?" if near else "see medscan-evaluate(1)"
        known = f" ({', '.join(map(printable, columns[:8]))})" if columns else ""
        raise UsageError(
            f"--by {printable(name, 80)}: neither a DICOM keyword nor a column of the data{known}; "
            f"{advice}"
        )
    tag = keyword_dict[keyword]
    identifies = keyword in _IDENTIFYING or (tag >> 16 == 0x10 and keyword not in _OF_PATIENTS)
    if identifies or dictionary_VR(tag) not in _VRS:
        raise UsageError(
            f"--by {keyword}: it names single patients, times or texts; choose an element that "
            "many share, such as Manufacturer, PatientSex or SliceThickness"
        )
    return keyword


def _elements(
    data: Path, items: Sequence[Item], keywords: Sequence[str]
) -> dict[str, Mapping[str, str]]:
    """Values of elements by the name of the item and the keyword."""
    others = [item for item in items if not item.sources]
    beside = _beside(data, others) if others else {}
    return {
        item.name: beside.get(item.path.resolve(), {})
        if not item.sources
        else elements_at(item.path, keywords)
        for item in items
    }


def elements_at(path: Path, keywords: Sequence[str]) -> dict[str, str]:
    """Elements at the top of a DICOM file, by keyword; empty where it states none.

    Those of functional groups are left out. A file that cannot be read states nothing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with archive.open_regular(path) as stream:
                wanted = list(keywords)
                header = pydicom.dcmread(
                    stream, stop_before_pixels=True, force=True, specific_tags=wanted
                )
                return {keyword: archive.text(header, keyword) for keyword in keywords}
        except (OSError, FileError, *archive.BROKEN):
            return {}  # whoever scores the file says what is wrong with it


def _beside(data: Path, items: Sequence[Item]) -> dict[Path, Mapping[str, str]]:
    """What lies beside files that are not DICOM says of them."""
    root = data.parent if data.is_file() else data
    wanted = {item.path.resolve() for item in items}
    walked = [
        entry
        for entry in archive.walk(root)
        if isinstance(entry, ArchiveFile)
        and (entry.full in wanted or entry.path.endswith((".json", ".tsv", ".toml")))
    ]
    return {
        frame.file.full: stack.facts
        for study in archive.index([root], walked=walked).studies
        for series in study.series
        for stack in series.stacks
        for frame in stack.frames
    }


# --- values that are numbers ---------------------------------------------------------------------


def bands(name: str, values: dict[str, str]) -> dict[str, str]:
    """Ages by `AGES`, and other numbers of many values by thirds of the items."""
    if name.lower().endswith("age"):
        ages = {item: _years(value) for item, value in values.items()}
        return {item: "" if math.isnan(years) else _age(years) for item, years in ages.items()}
    numbers = {item: _number(value) for item, value in values.items() if value}
    distinct = sorted(set(numbers.values()))
    if len(distinct) <= MOST // 2 or any(math.isnan(number) for number in distinct):
        return values
    low, high = np.quantile(list(numbers.values()), [1 / 3, 2 / 3], method="inverted_cdf")
    words = (f"up to {low:g}", f"above {low:g} up to {high:g}", f"above {high:g}")
    return {
        item: words[int(numbers[item] > low) + int(numbers[item] > high)] if item in numbers else ""
        for item in values
    }


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _years(text: str) -> float:
    """Years of an Age String (DICOM PS3.5 6.2) or of a number; NaN for neither."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        return math.nan
    return float(match[3]) if match[3] else int(match[1]) * _YEARS[match[2]]


def _age(years: float) -> str:
    place = sum(years >= first for first in AGES)
    if place == 0:
        return f"under {AGES[0]} years"
    if place == len(AGES):
        return f"{AGES[-1]} years and over"
    return f"{AGES[place - 1]} to {AGES[place] - 1} years"
