"""Measure where the time of a scan goes."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any


class Clock:
    """Seconds that each stage was busy, and that others waited for it; any thread may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: dict[str, float] = defaultdict(float)
        self._waited: dict[str, float] = defaultdict(float)

    def add(self, stage: str, seconds: float) -> None:
        """Add seconds that a stage was busy."""
        with self._lock:
            self._busy[stage] += seconds

    @contextmanager
    def busy(self, stage: str) -> Iterator[None]:
        """Count the time inside as work of a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started)

    @contextmanager
    def waiting(self, stage: str) -> Iterator[None]:
        """Count the time inside as spent waiting for a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._waited[stage] += time.perf_counter() - started

    def spent(self, stage: str) -> tuple[float, float]:
        """Return the seconds that a stage was busy, and that others waited for it."""
        with self._lock:
            return self._busy[stage], self._waited[stage]


@dataclass(frozen=True, slots=True)
class Stage:
    """Time that a stage of the pipeline worked and waited while slices were scored.

    Parameters
    ----------
    name : str
    hands : int
        Processes or threads that work on the stage side by side.
    busy_s : float
        Seconds that they worked, in sum.
    waiting_s : float
        Seconds that they had nothing to do, in sum.
    """

    name: str
    hands: int
    busy_s: float
    waiting_s: float

    @property
    def busy_fraction(self) -> float:
        """Fraction of its time that the stage was busy."""
        return self.busy_s / max(self.busy_s + self.waiting_s, 1e-9)


@dataclass(frozen=True, slots=True)
class Profile:
    """Stages of the pipeline, in the order that a slice goes through them."""

    stages: tuple[Stage, ...] = ()

    def as_dict(self) -> list[dict[str, Any]]:
        """Return the stages for JSON."""
        return [asdict(stage) for stage in self.stages]

    def bottleneck(self) -> str:
        """Return a sentence that names the busiest stage, and what to do about it."""
        busiest = max(self.stages, key=lambda stage: stage.busy_fraction, default=None)
        if busiest is None:
            return "Nothing was scored."
        name, advice = ADVICE[busiest.name]
        return f"{name} is the bottleneck, busy {busiest.busy_fraction:.0%} of the time: {advice}."

    def lines(self, steps: Mapping[str, float]) -> list[str]:
        """Return lines for a terminal: seconds of each step, a table, and the bottleneck."""
        durations = [", ".join(f"{name} {seconds:.1f} s" for name, seconds in steps.items())]
        if not self.stages:
            return [*durations, self.bottleneck()]
        head = f"{'stage':<10}{'hands':>6}{'busy s':>10}{'waiting s':>11}{'busy':>7}"
        rows = [
            f"{s.name:<10}{s.hands:>6}{s.busy_s:>10.1f}{s.waiting_s:>11.1f}{s.busy_fraction:>7.0%}"
            for s in self.stages
        ]
        return [*durations, head, *rows, self.bottleneck()]


DECODE, MODEL, RESULTS = "decode", "model", "results"
ADVICE = {
    DECODE: ("Decoding", "the model waits for it; give more --workers"),
    MODEL: ("The model", "the rest keeps up with it"),
    RESULTS: ("Putting results together and writing them", "split the archive with --shard"),
}


def profile_of(clock: Clock, seconds: float, workers: int, lanes: int) -> Profile:
    """Compute the profile of a pipeline.

    The scan's own process, which puts results together, counts as busy whenever it does not wait
    for another stage.

    Parameters
    ----------
    clock : Clock
    seconds : float
        Time that the pipeline ran.
    workers : int
        Decode processes; at least one.
    lanes : int
        See `medscan.scoring.lanes`.
    """
    decoding, for_decoding = clock.spent(DECODE)
    model, for_model = clock.spent(MODEL)
    assembling = max(0.0, seconds - for_decoding - for_model)
    spent = ((DECODE, max(1, workers), decoding), (MODEL, lanes, model), (RESULTS, 1, assembling))
    return Profile(tuple(_stage(name, hands, busy, seconds) for name, hands, busy in spent))


def _stage(name: str, hands: int, busy: float, seconds: float) -> Stage:
    return Stage(name, hands, round(busy, 3), round(max(0.0, hands * seconds - busy), 3))
