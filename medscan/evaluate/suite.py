"""A suite, measured cell by cell.

Each finished cell is a JSON file in the output folder; a suite that was stopped goes on where it
was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medscan import clip
from medscan.detector import Domain
from medscan.errors import DiskError, UsageError
from medscan.evaluate.declare import Cell, DataSet, Suite, cells_of, sources_of
from medscan.evaluate.export import plain
from medscan.evaluate.observe import PreparedBatches
from medscan.evaluate.run import EvaluateOptions, judge_on_test, measure, slices_of, unseen
from medscan.files import replacing
from medscan.fit import FitOptions, LabelledSlice, Progress, fit
from medscan.methods import Method, Settings

KEPT_BYTES = 1 << 30
"""Of the test slices of a data set, beyond which every cell reads them again."""


def run_suite(
    suite: Suite,
    out: Path,
    *,
    device: str = "cpu",
    shard: tuple[int, int] = (1, 1),
    told: Callable[[Cell, dict[str, Any]], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Measure what is not measured yet.

    Parameters
    ----------
    suite : Suite
    out : Path
        Folder of the cells' files.
    device : str
    shard : (int, int)
        Part i of n: a part takes every n-th cell, so that several processes share a suite.
    told : callable, optional
        Given each newly measured cell and its record.

    Yields
    ------
    dict
        The record of every cell of this part, old and new.

    Raises
    ------
    medscan.errors.UsageError
        A data set is not there or cannot be used, or the backbone is not there.
    medscan.errors.DiskError
        A cell's file could not be written.
    """
    digest = clip.find(suite.backbone).digest()
    part, parts = shard
    cells = cells_of(suite)[part - 1 :: parts]
    records = {cell: _known(out, cell, _asked(suite, cell, digest)) for cell in cells}
    _check_data(suite, [cell for cell, record in records.items() if record is None])
    _make(out)
    kept = _Slices()
    for cell, known in records.items():
        record = known
        if record is None:
            record = {"cell": _asked(suite, cell, digest)} | _measured(suite, cell, device, kept)
            with replacing(out / f"{cell.name}.json") as aside:
                aside.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
            if told is not None:
                told(cell, record)
        yield record


def _check_data(suite: Suite, cells: list[Cell]) -> None:
    """Say at once what would stop a long run in its middle."""
    for cell in cells:
        for data in (cell.data, *sources_of(suite, cell)):
            if not data.path.exists():
                raise UsageError(f"data set {data.name}: {data.path} does not exist")


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"{out} could not be made: {error.strerror}") from error


def _asked(suite: Suite, cell: Cell, digest: str) -> dict[str, Any]:
    """What a record must have been measured for."""
    return {
        "data": _facts(cell.data),
        "method": cell.method,
        "shots": cell.shots,
        "seed": cell.seed,
        "backbone": digest,
        "protocol": suite.protocol,
        "select": suite.select,
        "folds": suite.folds,
        "draws": suite.draws,
        "settings": suite.settings.get(cell.method, {}),
        "sources": [_facts(data) for data in sources_of(suite, cell)],
    }


def _facts(data: DataSet) -> dict[str, str]:
    """What of a data set bears on a measurement."""
    facts = asdict(data) | {"path": str(data.path)}
    return {name: facts[name] for name in ("name", "path", "organ", "plane", "window")}


def _known(out: Path, cell: Cell, asked: dict[str, Any]) -> dict[str, Any] | None:
    """The record of a cell that was measured before."""
    try:
        record = json.loads((out / f"{cell.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(record, dict) and {"cell", "slices", "studies", "pixels"} <= set(record)
    return record if whole and record["cell"] == asked else None


def _measured(suite: Suite, cell: Cell, device: str, kept: _Slices) -> dict[str, Any]:
    try:
        return _measure(suite, cell, device, kept)
    except UsageError as error:
        raise UsageError(f"{cell.name}: {error}") from error


def _measure(suite: Suite, cell: Cell, device: str, kept: _Slices) -> dict[str, Any]:
    sources = sources_of(suite, cell)
    options = FitOptions(
        shots=cell.shots or None,
        method=cell.method,
        protocol=suite.protocol,
        backbone=suite.backbone,
        organ=cell.data.organ,
        zero_shot=bool(sources),
        source_organs=tuple(d.organ for d in sources),
        domain=Domain(plane=cell.data.plane),
        window=cell.data.window,
        seed=cell.seed,
        folds=suite.folds,
        device=device,
        settings=suite.settings.get(cell.method, {}),
    )
    folders = [cell.data.path] if cell.shots else [d.path for d in sources]
    start = time.perf_counter()
    epochs = _Epochs()
    judge = judge_on_test(cell.data.path, options) if suite.select == "test" else None
    fitted, method = fit(folders, options, epochs.of_stage, judge)
    epochs.check()
    middle = time.perf_counter()
    items = unseen(cell.data.path, fitted, "test", strict=suite.protocol == "clean")
    slices = kept.get(
        (cell.data.name, method.backbone.size), lambda: slices_of(fitted, method, items)
    )
    asked = EvaluateOptions(protocol=suite.protocol, draws=suite.draws, seed=cell.seed)
    found = measure(fitted, method, slices, asked, kept.prepared(cell.data.name, method))
    return plain(found) | {
        "fit_seconds": round(middle - start, 2),
        "test_seconds": round(time.perf_counter() - middle, 2),
    }


class _Epochs:
    """Tells a training that Ctrl-C cut short, which fitting keeps, from a whole one."""

    def __init__(self) -> None:
        self.done = self.wanted = 0

    def of_stage(self, _stage: str) -> Progress:
        """What is told of a stage's epochs."""
        return self._told

    def _told(self, epoch: int, epochs: int, _loss: float) -> None:
        self.done, self.wanted = epoch, epochs

    def check(self) -> None:
        """Stop the suite as well: half a training is no measurement."""
        if self.done < self.wanted:
            raise KeyboardInterrupt


class _Slices:
    """The test slices of the data set at hand: cells come a data set at a time."""

    def __init__(self) -> None:
        self.key: tuple[str, int] | None = None
        self.slices: list[LabelledSlice] = []
        self._prepared: tuple[tuple[str, Settings], PreparedBatches] | None = None

    def prepared(self, data: str, method: Method) -> PreparedBatches:
        """What was prepared of the same slices for a method with the same settings."""
        key = (f"{data}/{method.name}", method.settings)
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = None  # what is replaced need not lie beside what replaces it
            self._prepared = (key, PreparedBatches())
        return self._prepared[1]

    def get(
        self, key: tuple[str, int], read: Callable[[], Iterable[LabelledSlice]]
    ) -> Iterator[LabelledSlice]:
        """Slices of a data set at a size, read when they are not those that are kept."""
        if self.key == key:
            yield from self.slices
            return
        self.key, self.slices = None, []
        held = 0
        for found in read():
            held += found.image.nbytes
            if held <= KEPT_BYTES:
                self.slices.append(found)
            yield found
        if held <= KEPT_BYTES:
            self.key = key
        else:
            self.slices = []
