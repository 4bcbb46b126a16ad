"""A grid of methods, data sets, shots and seeds, as a TOML file declares it."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medscan import clip, imaging
from medscan.choices import Plane
from medscan.errors import UsageError
from medscan.methods import settings_of, system_of

FIGURES = {
    "image_auroc": ("slices", "auroc"),
    "image_ap": ("slices", "average_precision"),
    "f1_max": ("slices", "f1_max"),
    "pixel_auroc": ("pixels", "auroc"),
    "aupro": ("pixels", "aupro"),
}
"""Column of a suite's table -> part and figure of a record that it shows."""

BASELINES = ("raw-pixels", "histogram", "linear-probe", "knn")
"""What a suite can show beside the methods."""

TEXT, WHOLE, NUMBER, TABLE = "a string", "an integer from 0", "a number from 0 to 100", "a table"
TEXTS, WHOLES = "a list of different strings", "a list of different integers from 0"
TABLES = "a list of tables"
SUITE = {
    "methods": TEXTS,
    "baselines": TEXTS,
    "data": TABLES,
    "shots": WHOLES,
    "seeds": WHOLES,
    "backbone": TEXT,
    "protocol": TEXT,
    "select": TEXT,
    "folds": WHOLE,
    "draws": WHOLE,
    "settings": TABLE,
    "published": TABLES,
}
DATA = dict.fromkeys(("name", "path", "organ", "plane", "window", "group"), TEXT)
DATA["trivial"] = NUMBER
PUBLISHED = {"method": TEXT, "data": TEXT, "shots": WHOLE, "source": TEXT}
PUBLISHED |= dict.fromkeys(FIGURES, NUMBER)


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set of a suite.

    Parameters
    ----------
    name, organ : str
    path : Path
    plane, window : str
        As in `medscan fit`.
    group : str
        Zero-shot cells do not learn from data sets of the same group, unless the protocol is
        "paper".
    trivial : float or None
        Image AUROC of the best trivial feature; a method below it has learnt nothing.
    """

    name: str
    path: Path
    organ: str
    plane: str = ""
    window: str = "auto"
    group: str = ""
    trivial: float | None = None


@dataclass(frozen=True, slots=True)
class Suite:
    """Declared grid of measurements; see medscan-evaluate(1)."""

    methods: tuple[str, ...]
    data: tuple[DataSet, ...]
    shots: tuple[int, ...] = (16,)
    seeds: tuple[int, ...] = (0, 1, 2)
    backbone: str = clip.DEFAULT
    protocol: str = "clean"
    select: str = "last"
    folds: int = 0
    draws: int = 0
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    published: tuple[dict[str, Any], ...] = ()
    baselines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cell:
    """One fit and one measurement; 0 shots means zero-shot learning from the other data sets."""

    data: DataSet
    method: str
    shots: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its file, without suffix."""
        return f"{self.data.name}-{self.method}-k{self.shots}-s{self.seed}"


def find_suite(name: str) -> Path:
    """Path of a suite, given as a file or as the name of a shipped one."""
    shipped = Path(__file__).parent / f"{name}.toml"
    return shipped if name.isalnum() and shipped.is_file() else Path(name)


def read_suite(path: Path, root: Path | None = None) -> Suite:
    """Read and check a suite from its TOML file.

    Parameters
    ----------
    path : Path
    root : Path, optional
        Folder that relative paths of data sets start from; default: the file's own.

    Raises
    ------
    UsageError
        If the file cannot be read, has unknown or wrong entries, or a cell cannot be measured.
    """
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"suite {path} cannot be read: {error}") from error
    try:
        return _suite(facts, root or path.parent)
    except UsageError as error:
        raise UsageError(f"suite {path}: {error}") from error


def cells_of(suite: Suite) -> list[Cell]:
    """All cells, ordered by data set and then by method; baselines come last.

    Baselines and methods without a zero-shot form have no cells with 0 shots.
    """
    return [
        Cell(data, method, shots, seed)
        for data in suite.data
        for method in (*suite.methods, *suite.baselines)
        for shots in suite.shots
        for seed in suite.seeds
        if shots or (method not in BASELINES and system_of(method).zero_shot is not None)
    ]


def sources_of(suite: Suite, cell: Cell) -> list[DataSet]:
    """Data sets that a zero-shot cell learns from; empty if its method learns nothing."""
    if cell.shots or not system_of(cell.method).method.learns_from:
        return []
    target = cell.data
    others = [d for d in suite.data if d.name != target.name and d.path != target.path]
    if suite.protocol == "paper":
        return others  # MVFA's published figures come from learning on the same group too
    return [d for d in others if not (d.group and d.group == target.group)]


def _suite(facts: dict[str, Any], root: Path) -> Suite:
    _check(facts, SUITE, ("methods", "data"), "its top level")
    parts: dict[str, Any]
    parts = {name: tuple(v) if isinstance(v, list) else v for name, v in facts.items()}
    parts["data"] = tuple(_data_set(d, n, root) for n, d in enumerate(facts["data"], 1))
    suite = Suite(**parts)
    names = [d.name.casefold() for d in suite.data]
    if len(set(names)) < len(names):
        raise UsageError("names of data sets must differ")
    _check_methods(suite)
    _check_published(suite)
    _check_cells(suite)
    return suite


def _data_set(facts: dict[str, Any], number: int, root: Path) -> DataSet:
    where = f"data set {number}"
    _check(facts, DATA, ("name", "path", "organ"), where)
    name = facts["name"]
    if not _names_a_file(name):
        raise UsageError(f"{where}: name {name!r} cannot be part of a file's name")
    if facts.get("plane", "") not in ("", *Plane):
        raise UsageError(f"{where}: plane {facts['plane']!r} is not one of {', '.join(Plane)}")
    imaging.parse_rule(facts.get("window", "auto"))
    if facts.get("trivial", 0) > 1:
        raise UsageError(f"{where}: trivial is a fraction from 0 to 1, not percent")
    try:
        path = (root / Path(facts["path"]).expanduser()).resolve()
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{where}: {error}") from error
    return DataSet(**facts | {"path": path})


def _names_a_file(name: str) -> bool:
    """Whether a data set's name can start the file names of its cells."""
    return (
        name.strip() == name != ""
        and name.isprintable()
        and not name.startswith(".")
        and not set("/\\") & set(name)
        and len(name.encode()) <= 150
    )


def _check_methods(suite: Suite) -> None:
    if suite.select not in ("last", "test") or (suite.select, suite.protocol) == ("test", "clean"):
        raise UsageError(f"select {suite.select!r}: choose last, or test with protocol paper")
    for method in suite.methods:
        system_of(method)
        settings_of(method, suite.protocol)
    for baseline in suite.baselines:
        if baseline not in BASELINES:
            raise UsageError(f"baseline {baseline!r}: choose from {', '.join(BASELINES)}")
    for method, changes in suite.settings.items():
        system_of(method)
        if not isinstance(changes, dict):
            raise UsageError(f"settings of {method} must be a table")
        settings_of(method, suite.protocol, **changes)


def _check_published(suite: Suite) -> None:
    for number, entry in enumerate(suite.published, 1):
        where = f"published figures {number}"
        _check(entry, PUBLISHED, ("method", "data", "shots"), where)
        system_of(entry["method"])
        if entry["data"] not in [d.name for d in suite.data]:
            raise UsageError(f"{where}: no data set is named {entry['data']!r}")


def _check_cells(suite: Suite) -> None:
    cells = cells_of(suite)
    if not cells:
        raise UsageError(
            "it has no cells: name data sets, and shots above 0 for methods without a zero-shot "
            "form"
        )
    for cell in cells:
        if cell.method in BASELINES:
            continue
        learns = system_of(cell.method).method.learns_from
        if learns and not cell.shots and not sources_of(suite, cell):
            raise UsageError(
                f"{cell.method} with 0 shots needs a data set other than {cell.data.name} and its "
                "group to learn from"
            )


def _check(facts: Any, kinds: dict[str, str], needed: tuple[str, ...], where: str) -> None:
    """Refuse a table with unknown, missing or wrong entries."""
    if not isinstance(facts, dict):
        raise UsageError(f"{where} is not a table")
    for name in sorted(set(facts) - set(kinds)):
        raise UsageError(f"{where} has an unknown key {name!r}; choose from {', '.join(kinds)}")
    for name in needed:
        if name not in facts:
            raise UsageError(f"{where} lacks {name}")
    for name, value in facts.items():
        # An empty list says what leaving the key out does; of numbers that means others.
        left_out = value == [] and kinds[name] == TEXTS and name not in needed
        if not (left_out or _fits(value, kinds[name])):
            raise UsageError(f"{where}: {name} = {repr(value)[:60]} is not {kinds[name]}")


def _fits(value: Any, kind: str) -> bool:
    if kind in (TEXTS, WHOLES):
        element = TEXT if kind == TEXTS else WHOLE
        fits = isinstance(value, list) and all(_fits(v, element) for v in value)
        return fits and 0 < len(set(value)) == len(value)
    if kind == TABLES:
        return isinstance(value, list) and all(isinstance(v, dict) for v in value)
    if kind == TABLE:
        return isinstance(value, dict)
    if kind == TEXT:
        return isinstance(value, str) and "\0" not in value
    if kind == WHOLE:
        return type(value) is int and 0 <= value < 2**31
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= 100


__all__ = [
    "BASELINES",
    "FIGURES",
    "Cell",
    "DataSet",
    "Suite",
    "cells_of",
    "find_suite",
    "read_suite",
    "sources_of",
]
