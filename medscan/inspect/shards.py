"""Forecast what each shard of an archive holds, and about how long its scan takes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from typing import Any

from medscan.archive import shard_number
from medscan.inspect.forecast import forecast_pseudonyms, seconds_per_slice
from medscan.options import ScanOptions
from medscan.planning import Ledger, Task, survey_archive


@dataclass(slots=True)
class ShardForecast:
    """Contents of one shard of an archive; `seconds` is an estimate."""

    studies: int = 0
    stacks: int = 0
    slices: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ShardForecasts:
    """Forecasts of all shards of an archive, by number.

    Parameters
    ----------
    shards : list of ShardForecast
    seconds_a_slice : float
        Time per slice, measured on a few slices; 0 if there are none to score.
    """

    shards: list[ShardForecast]
    seconds_a_slice: float

    @property
    def imbalance(self) -> float:
        """Slices of the largest shard divided by the mean; 1 if there are no slices."""
        slices = [shard.slices for shard in self.shards]
        return max(slices) * len(slices) / sum(slices) if any(slices) else 1.0

    def total(self) -> ShardForecast:
        """Return the forecast of the whole archive."""
        rows = [asdict(shard) for shard in self.shards]
        return ShardForecast(
            **{f.name: sum(row[f.name] for row in rows) for f in fields(ShardForecast)}
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the forecasts for JSON."""
        count = len(self.shards)
        rows = [{"shard": f"{n}/{count}"} | asdict(s) for n, s in enumerate(self.shards, 1)]
        return {
            "shards": rows,
            "total": asdict(self.total()),
            "imbalance": round(self.imbalance, 4),
            "seconds_a_slice": self.seconds_a_slice,
        }

    def text(self) -> str:
        """Return a line for each shard, for a terminal."""
        count = len(self.shards)
        named = [(f"{n}/{count}", shard) for n, shard in enumerate(self.shards, 1)]
        lines = [f"{'shard':>11} {'studies':>9} {'stacks':>9} {'slices':>11} {'GiB':>9}  about"]
        lines += [_line(name, shard) for name, shard in [*named, ("all", self.total())]]
        return "\n".join([*lines, f"the largest shard has {self.imbalance:.2f} times the mean"])


def _line(name: str, shard: ShardForecast) -> str:
    counts = f"{shard.studies:9} {shard.stacks:9} {shard.slices:11}"
    return f"{name:>11} {counts} {shard.bytes / 2**30:9.2f}  {_clock(shard.seconds)}"


def _clock(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {left} s"


def forecast_shards(options: ScanOptions, count: int) -> ShardForecasts:
    """Forecast the shards of an archive, as if nothing of it were scanned yet.

    Nothing is written and no results are read. If the outputs name a ledger, it is used as a cache:
    headers that it holds are not read again.

    Raises
    ------
    medscan.errors.UsageError
        If an archive is missing, or a detector does not fit.
    """
    inputs, outputs, compute = options.inputs, options.outputs, options.compute
    inputs.check()
    pseudonyms = forecast_pseudonyms(options)
    with ExitStack() as opened:
        cache = None
        if outputs.ledger is not None:
            cache = Ledger(outputs.ledger, read_only=True)
            opened.callback(cache.close)
        surveyed = survey_archive(
            inputs, pseudonyms, options.identity, cache=cache, workers=compute.workers
        )
    seconds = seconds_per_slice(inputs, compute, surveyed.plan)
    return ShardForecasts(_forecasts(surveyed.plan, count, seconds), seconds)


def _forecasts(plan: Sequence[Task], count: int, seconds: float) -> list[ShardForecast]:
    shards = [ShardForecast() for _ in range(count)]
    for task in plan:
        shard = shards[shard_number(task.study, count) - 1]
        shard.studies += 1
        shard.stacks += len(task.stacks)
        shard.slices += sum(len(stack.frames) for _, stack, _ in task.stacks)
        shard.bytes += sum(file.size for file in (*task.study.files(), *task.companions))
    for shard in shards:
        shard.seconds = round(shard.slices * seconds, 1)
    return shards
