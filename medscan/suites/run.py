"""Measuring a suite cell by cell.

Each finished cell becomes a JSON file in the output folder, so that a suite that was stopped
continues where it stopped.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medscan import clip
from medscan.choices import Plane
from medscan.detector import Domain
from medscan.errors import DiskError, UsageError
from medscan.evaluate import (
    EvaluateOptions,
    PreparedBatches,
    judge_on_test,
    measure,
    slices_of,
    to_plain,
    unseen_items,
)
from medscan.files import replacing
from medscan.fitting import FitOptions, Moment, fit
from medscan.methods import Method, Settings
from medscan.normals import Calibration
from medscan.shots import Item, LabelledSlice, draw_shots, read_splits
from medscan.suites.baselines import Baseline
from medscan.suites.declare import BASELINES, Cell, DataSet, Suite, cells_of, sources_of
from medscan.suites.ranks import items_of

CACHE_BYTES = 1 << 30
"""Limit on the cached test slices of a data set; beyond it every cell reads them again."""


def run_suite(
    suite: Suite,
    out: Path,
    *,
    device: str = "cpu",
    shard: tuple[int, int] = (1, 1),
    on_record: Callable[[Cell, dict[str, Any]], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Measure the cells that have no record yet.

    Parameters
    ----------
    suite : Suite
    out : Path
        Folder of the cells' files.
    device : str
    shard : (int, int)
        Shard i of n: every n-th cell from the i-th, so that several processes share a suite.
    on_record : callable, optional
        Called with each newly measured cell and its record.

    Yields
    ------
    dict
        The record of every cell of this shard, old and new.

    Raises
    ------
    medscan.errors.UsageError
        If a data set is missing or cannot be used, or the backbone is missing.
    medscan.errors.DiskError
        If a cell's file could not be written.
    """
    digest = clip.find(suite.backbone).digest()
    number, count = shard
    cells = cells_of(suite)[number - 1 :: count]
    records = {cell: _read_record(out, cell, _cell_facts(suite, cell, digest)) for cell in cells}
    _check_data(suite, [cell for cell, record in records.items() if record is None])
    _make_folder(out)
    cache = _SliceCache()
    for cell, old_record in records.items():
        record = old_record
        if record is None:
            record = {"cell": _cell_facts(suite, cell, digest)}
            record |= _measure_cell(suite, cell, device, cache)
            with replacing(out / f"{cell.name}.json") as aside:
                aside.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
            if on_record is not None:
                on_record(cell, record)
        yield record


def _check_data(suite: Suite, cells: list[Cell]) -> None:
    """Refuse missing data sets before a long run, instead of in the middle of it."""
    for cell in cells:
        for data in (cell.data, *sources_of(suite, cell)):
            if not data.path.exists():
                raise UsageError(f"data set {data.name}: {data.path} does not exist")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"{out} could not be made: {error.strerror}") from error


def _cell_facts(suite: Suite, cell: Cell, digest: str) -> dict[str, Any]:
    """Everything that a cell's figures depend on; an old record with other facts is ignored."""
    return {
        "data": _data_facts(cell.data),
        "method": cell.method,
        "shots": cell.shots,
        "seed": cell.seed,
        "backbone": digest,
        "protocol": suite.protocol,
        "select": suite.select,
        "folds": suite.folds,
        "draws": suite.draws,
        "settings": suite.settings.get(cell.method, {}),
        "sources": [_data_facts(data) for data in sources_of(suite, cell)],
    }


def _data_facts(data: DataSet) -> dict[str, str]:
    """The fields of a data set that a measurement depends on."""
    facts = asdict(data) | {"path": str(data.path)}
    return {name: facts[name] for name in ("name", "path", "organ", "plane", "window")}


def _read_record(out: Path, cell: Cell, facts: dict[str, Any]) -> dict[str, Any] | None:
    """Record of a cell that was already measured with these facts, else None."""
    try:
        record = json.loads((out / f"{cell.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    complete = isinstance(record, dict) and {"cell", "slices", "studies", "pixels", "items"} <= set(
        record
    )
    return record if complete and record["cell"] == facts else None


def _measure_cell(suite: Suite, cell: Cell, device: str, cache: _SliceCache) -> dict[str, Any]:
    """Fit and measure a cell; errors name it."""
    try:
        return _fit_and_measure(suite, cell, device, cache)
    except UsageError as error:
        raise UsageError(f"{cell.name}: {error}") from error


def _fit_and_measure(suite: Suite, cell: Cell, device: str, cache: _SliceCache) -> dict[str, Any]:
    start = time.perf_counter()
    judged = cell.method in BASELINES
    learn = _learn_baseline if judged else _fit_method
    method, calibration, items = learn(suite, cell, device)
    fit_end = time.perf_counter()
    slices = cache.get(
        (cell.data.name, method.backbone.size),
        lambda: slices_of(cell.data.plane, cell.data.window, method.backbone.size, items),
    )
    test_options = EvaluateOptions(protocol=suite.protocol, draws=suite.draws, seed=cell.seed)
    prepared = cache.prepared(cell.data.name, method)
    evaluation = measure(calibration, method, slices, test_options, prepared)
    nothing = {"pixels": None, "lesions": None} if judged else {}  # a baseline draws no maps
    return (
        to_plain(evaluation)
        | nothing
        | {
            "items": items_of(evaluation.rows),
            "fit_seconds": round(fit_end - start, 2),
            "test_seconds": round(time.perf_counter() - fit_end, 2),
        }
    )


def _fit_method(suite: Suite, cell: Cell, device: str) -> tuple[Method, Calibration, list[Item]]:
    """Fit a method; return it with its calibration and the items to measure it on."""
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
    steps = _Steps()
    judge = judge_on_test(cell.data.path, options) if suite.select == "test" else None
    fitted, method = fit(folders, options, steps.told, judge)
    steps.check()
    items = unseen_items(cell.data.path, [fitted], "test", strict=suite.protocol == "clean")
    return method, fitted.calibration, items


def _learn_baseline(
    suite: Suite, cell: Cell, device: str
) -> tuple[Method, Calibration, list[Item]]:
    """Let a baseline learn from the shots that the suite gives every method."""
    baseline = Baseline(cell.method, clip.load(suite.backbone, device=device))
    splits = read_splits(cell.data.path)
    size, window = baseline.backbone.size, cell.data.window
    plane = Plane(cell.data.plane) if cell.data.plane else None
    shots = draw_shots(
        splits["train"], cell.shots, cell.seed, size=size, window=window, plane=plane
    )
    gave = {item.patient for item in splits["train"] if item.path in shots.files}
    shared = {item.patient for item in splits["test"]} & gave
    if shared and suite.protocol == "clean":
        raise UsageError(f"{len(shared)} patients of the test split gave shots")
    if not splits["test"]:
        raise UsageError(f"{cell.data.path} has no test split; add one (a column split)")
    baseline.learn(shots)
    uncalibrated = Calibration((), math.nan, 0.05, True, 0.0, 1.0)
    return baseline, uncalibrated, splits["test"]


class _Steps:
    """Recognises a training that Ctrl-C cut short: fitting keeps it, a suite must not."""

    def __init__(self) -> None:
        self.done = self.planned = 0

    def told(self, moment: Moment) -> None:
        """Take down how far the fit is."""
        self.done, self.planned = moment.step, moment.steps

    def check(self) -> None:
        """Stop the suite if the training was cut short."""
        if self.done < self.planned:
            raise KeyboardInterrupt


class _SliceCache:
    """Test slices of the current data set, which the next cells use too."""

    def __init__(self) -> None:
        self.key: tuple[str, int] | None = None
        self.slices: list[LabelledSlice] = []
        self._prepared: tuple[tuple[str, Settings], PreparedBatches] | None = None

    def prepared(self, data: str, method: Method) -> PreparedBatches:
        """Prepared batches of the same slices, for a method with the same settings."""
        key = (f"{data}/{method.name}", method.settings)
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = None  # frees the old batches before new ones take memory
            self._prepared = (key, PreparedBatches())
        return self._prepared[1]

    def get(
        self, key: tuple[str, int], read: Callable[[], Iterable[LabelledSlice]]
    ) -> Iterator[LabelledSlice]:
        """Yield slices of a data set at a size, from memory or by `read`."""
        if self.key == key:
            yield from self.slices
            return
        self.key, self.slices = None, []
        nbytes = 0
        for labelled in read():
            nbytes += labelled.image.nbytes
            if nbytes <= CACHE_BYTES:
                self.slices.append(labelled)
            yield labelled
        # Only slices that were read to the end and fit the limit may be used again.
        if nbytes <= CACHE_BYTES:
            self.key = key
        else:
            self.slices = []
