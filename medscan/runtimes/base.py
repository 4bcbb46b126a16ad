"""What scoring needs of a detector in memory, whichever library computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from medscan.choices import Precision, RuntimeName
from medscan.profile import MODEL, Clock

if TYPE_CHECKING:
    from medscan.clip import Backbone

Check = Callable[[], object]
"""Called again and again while a batch is computed; an error that it raises ends the batch."""


@dataclass(frozen=True, slots=True)
class Output:
    """Scores (B,), maps (B, G, G) and distances (B,) of a batch in host memory, float32.

    Without a gate there are no distances.

    Those of a GPU may be read only after the second event; the events enclose its computing.
    """

    score: Any
    grid: Any
    events: tuple[Any, Any] | None = None
    distance: Any | None = None

    def wait(self, clock: Clock) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return both as arrays, once a GPU has computed them."""
        if self.events is not None:
            started, ended = self.events
            ended.synchronize()
            clock.add(MODEL, started.elapsed_time(ended) / 1000)
        return np.asarray(self.score), np.asarray(self.grid)

    def distances(self) -> NDArray[np.float32]:
        """Return the distances, once `wait` has returned; NaN without a gate."""
        if self.distance is None:
            return np.full(len(self.score), np.nan, np.float32)
        return np.asarray(self.distance)


class Computed(NamedTuple):
    """How scores were computed."""

    precision: Precision = Precision.FP32
    runtime: RuntimeName = RuntimeName.TORCH


AS_CALIBRATED = Computed()
"""How detectors are fitted, and so calibrated."""


class Model(Protocol):
    """A detector ready to score.

    At one batch size a slice has the same score and map, to the bit, in whichever batch, row and
    thread it is scored.
    """

    @property
    def computed(self) -> Computed:
        """Number format that it is computed in, and library that does."""
        ...

    @property
    def device(self) -> str:
        """cpu, cuda or cuda:N."""
        ...

    @property
    def square(self) -> Square:
        """Sizes of its input and of its maps."""
        ...

    def empty(self, count: int) -> Any:
        """Return a batch of `count` black slices that NumPy can write to."""
        ...

    def run(self, batch: Any, clock: Clock) -> Output:
        """Score a batch (B, 3, S, S), float32 in [0, 1]; several threads may do so at a time."""
        ...

    def interrupt_by(self, check: Check) -> None:
        """End batches by an error that `check` raises."""
        ...


@dataclass(frozen=True, slots=True)
class Square:
    """Sides of a detector's input and of a patch in pixels, and of its maps in patches.

    `tile` is the side in pixels of what its backbone sees at once.
    """

    size: int
    grid: int
    patch: int
    tile: int

    @classmethod
    def of(cls, backbone: Backbone) -> Square:
        """Sizes of a detector on a backbone."""
        return cls(backbone.size, backbone.grid, backbone.patch, backbone.tile)
