"""Detectors computed by OpenVINO, on CPUs.

Each property that a model is compiled with is there for a reason; see `properties`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medscan.choices import Precision, RuntimeName
from medscan.history import Layer
from medscan.profile import MODEL, Clock
from medscan.runtimes import heads, int8
from medscan.runtimes.base import Check, Computed, Output, Square
from medscan.runtimes.cpu import computes_bf16

if TYPE_CHECKING:
    from medscan.runtimes.graphs import Graph

HINTS = {Precision.FP32: "f32", Precision.BF16: "bf16", Precision.INT8: "f32"}
"""What OpenVINO calls the precisions that a graph can be computed in on a CPU.

Of int8, it is that of all but linear layers and attention: with bf16 for all of the rest,
brain-flair lost three flags of 98 instead of one.
"""
STEP_MS = 200
"""Longest single wait for a batch."""


def installed() -> bool:
    """Whether OpenVINO is installed; it is not imported for that."""
    return find_spec("openvino") is not None


def library() -> Any:
    """Import OpenVINO without the package by which it would report its use.

    With it, OpenVINO looks up a name in the network and leaves a file in the home folder.
    """
    # For good, since what converts looks for it again: to an import, None is not installed.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


@cache
def core() -> Any:
    """Return the one core of this process, which stays for as long as the process does.

    For each core, OpenVINO (2026.4.1, intel_cpu/src/plugin.cpp) gives the thread a stack of its own
    for signals, and frees it with the core. Cores that go in another order, or in another thread,
    leave the thread with a stack that is gone, and the next signal ends the process.
    """
    return library().Core()


def properties(precision: Precision, lanes: int) -> dict[str, Any]:
    """Properties to compile a graph with.

    Parameters
    ----------
    precision : Precision
        Always named: else OpenVINO computes in bfloat16 wherever the CPU has it.
    lanes : int
        Batches computed side by side, each by one thread. Threads are not pinned: each process
        would pin its own to the same first cores.
    """
    return {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "NUM_STREAMS": lanes,
        "INFERENCE_NUM_THREADS": lanes,
        "ENABLE_CPU_PINNING": False,
    }


class OpenVinoModel:
    """A compiled graph, with a request for each batch in flight; see `medscan.runtimes.base.Model`.

    Parameters
    ----------
    graph : Graph
    precision : Precision
        One of `HINTS`.
    lanes : int
        As in `properties`.
    layers : tuple of Layer
        For int8, how its linear layers are rounded.

    Raises
    ------
    medscan.errors.DetectorError
        If the layers are those of another graph.
    """

    device = "cpu"

    def __init__(
        self, graph: Graph, precision: Precision, lanes: int, layers: tuple[Layer, ...] = ()
    ) -> None:
        model = _read(graph)
        if precision is Precision.INT8:
            int8.insert(library(), model, layers)
        heads.split(library(), model)
        # OpenVINO has bfloat16 on any CPU with AVX-512, and is slower in it on some.
        if precision is Precision.INT8 and computes_bf16():
            int8.attend_in_bfloat16(library(), model)
        self._compiled = _compiled(model, precision, lanes)
        self._idle: SimpleQueue[Any] = SimpleQueue()
        self._check: Check = lambda: None
        self.computed, self._square = Computed(precision, RuntimeName.OPENVINO), graph.square

    @property
    def square(self) -> Square:
        """As in `Model`."""
        return self._square

    def property(self, name: str) -> Any:
        """Return what OpenVINO has made of a property."""
        return self._compiled.get_property(name)

    def interrupt_by(self, check: Check) -> None:
        """As in `Model`."""
        self._check = check

    def empty(self, count: int) -> NDArray[np.float32]:
        """As in `Model`."""
        return np.zeros((count, 3, self._square.size, self._square.size), np.float32)

    def run(self, batch: NDArray[np.float32], clock: Clock) -> Output:
        """Score a batch with a request that no other thread uses."""
        try:
            request = self._idle.get_nowait()
        except Empty:
            request = self._compiled.create_infer_request()
        with clock.busy(MODEL):
            request.start_async([batch], share_inputs=True)
            self._await(request)
            count = len(self._compiled.outputs)
            score, grid, *far = (request.get_output_tensor(n).data.copy() for n in range(count))
        self._idle.put(request)
        return Output(score, grid, None, *far)

    def _await(self, request: Any) -> None:
        """Wait for a request; an error of the check cancels it."""
        try:
            while not request.wait_for(STEP_MS):
                self._check()
        except BaseException:
            request.cancel()
            with suppress(RuntimeError):  # that it was cancelled
                request.wait()  # it reads the batch until then
            raise


def _read(graph: Graph) -> Any:
    # Copied: what is shared would have to outlive the compiled model.
    weights = library().Tensor(graph.weights, shared_memory=False)
    return core().read_model(graph.structure, weights)


def _compiled(model: Any, precision: Precision, lanes: int) -> Any:
    return core().compile_model(model, "CPU", properties(precision, lanes))


def measure_layers(graph: Graph, images: Iterable[NDArray[np.float32]]) -> tuple[Layer, ...]:
    """Measure the inputs of a graph's linear layers; see `medscan.runtimes.int8.measure`."""
    return int8.measure(_read(graph), lambda m: _compiled(m, Precision.FP32, 1), images)


def supports(precision: Precision) -> bool:
    """Whether OpenVINO computes in this precision on this CPU."""
    if precision is Precision.FP32:
        return True
    capabilities = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return precision in HINTS and str(precision).upper() in capabilities


def convert(program: Any, path: Path) -> None:
    """Convert a traced program, and write it as XML with its weights beside it, unrounded.

    Raises
    ------
    RuntimeError
        If it holds an operation that OpenVINO does not know.
    """
    openvino = library()
    from openvino.frontend import OpConversionFailure

    try:
        converted = openvino.convert_model(program)
    except OpConversionFailure as error:  # no RuntimeError, as its other errors are
        raise RuntimeError(str(error)) from error
    openvino.save_model(converted, path, compress_to_fp16=False)
