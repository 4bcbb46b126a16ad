"""Detectors loaded by the library that computes them fastest on this machine."""

from __future__ import annotations

import logging
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medscan.choices import Precision, RuntimeName
from medscan.clip import choose_device
from medscan.detector import Detector
from medscan.errors import DetectorError, ExportError, UsageError
from medscan.history import Layer, tried_on_own
from medscan.runtimes import openvino
from medscan.runtimes.base import Model
from medscan.runtimes.cpu import computes_bf16, computes_int8
from medscan.runtimes.graphs import graph_of
from medscan.runtimes.openvino import OpenVinoModel
from medscan.runtimes.pytorch import TorchModel
from medscan.runtimes.threads import cores, one_thread
from medscan.text import printable

if TYPE_CHECKING:
    from medscan.clip import Backbone
    from medscan.methods import Method

log = logging.getLogger("medscan.scan")

VARIABLE = "MEDSCAN_RUNTIME"
"""Environment variable with the runtime that `auto` stands for."""
MEASURED = ("x86_64", "AMD64")
"""Processors on which OpenVINO is known to be the faster one."""


def choose_runtime(asked: RuntimeName, device: str, precision: Precision) -> RuntimeName:
    """Return the runtime for a device and precision: the fastest one for `auto`.

    Parameters
    ----------
    asked : RuntimeName
    device : str
        cpu, cuda or cuda:N.
    precision : Precision

    Raises
    ------
    UsageError
        If the runtime asked for cannot compute in that precision, or on that device.
    """
    asked = _of_environment() if asked is RuntimeName.AUTO else asked
    torch, int8 = asked is RuntimeName.TORCH, precision is Precision.INT8
    if torch and not int8:
        return asked
    why = "torch was chosen" if torch else _obstacle(device, precision)
    if why and int8:
        raise UsageError(f"--precision int8 needs OpenVINO, and {why}; choose auto")
    if why and asked is RuntimeName.OPENVINO:
        raise UsageError(f"--runtime openvino: {why}; choose torch, or auto")
    unknown = asked is RuntimeName.AUTO and platform.machine() not in MEASURED and not int8
    return RuntimeName.TORCH if why or unknown else RuntimeName.OPENVINO


def choose_precision(detector: Detector, runtime: RuntimeName, device: str) -> Precision:
    """Return what `--precision auto` stands for: the fastest precision that changes nothing.

    A trial on patients whom the detector was fitted on counts too, where no other could be had: it
    shows less, and the log says so.

    Parameters
    ----------
    detector : Detector
        Its trials decide, which were computed by OpenVINO.
    runtime : RuntimeName
    device : str
        auto, cpu, cuda or cuda:N.

    Raises
    ------
    UsageError
        If there is no such device.
    """
    asked = _of_environment() if runtime is RuntimeName.AUTO else runtime
    passed = {trial.precision for trial in detector.trials if trial.passed}
    here = {Precision.INT8: computes_int8, Precision.BF16: computes_bf16}  # the fastest first
    fast = next((p for p, computes in here.items() if p in passed and computes()), None)
    # Cheap questions first: the last one imports PyTorch where there may be a GPU.
    may = fast and asked is not RuntimeName.TORCH and openvino.installed()
    if not (fast and may and choose_device(device) == "cpu"):
        return Precision.FP32
    if fast in tried_on_own(detector.trials):
        told = "detector %s is computed in %s, which was tried on patients that it was fitted on"
        log.info(told, detector.name, fast)
    return fast


def lower_precisions() -> list[Precision]:
    """Precisions below single that OpenVINO computes on this CPU, the fastest last."""
    known = {Precision.BF16: True, Precision.INT8: computes_int8()}
    return [p for p, computes in known.items() if computes and openvino.supports(p)]


def _of_environment() -> RuntimeName:
    told = os.environ.get(VARIABLE) or RuntimeName.AUTO
    try:
        return RuntimeName(told)
    except ValueError:
        names = ", ".join(RuntimeName)
        raise UsageError(f"{VARIABLE}={printable(told, 80)}: choose one of {names}") from None


def _obstacle(device: str, precision: Precision) -> str:
    """Why OpenVINO cannot be used; empty if it can."""
    if device != "cpu":
        return "it computes on CPUs only"
    if not openvino.installed():
        return "it is not installed"
    return "" if openvino.supports(precision) else f"it has no {precision} on this CPU"


def load(
    path: Path,
    detector: Detector,
    precision: Precision,
    *,
    runtime: RuntimeName = RuntimeName.AUTO,
    device: str = "cpu",
) -> Model:
    """Load one detector, to be computed on all cores; see `Loader.load`."""
    return Loader(runtime, device, cores()).load(path, detector, precision)


class Loader:
    """Loads detectors on one device; those of the same backbone, size and precision share it.

    Parameters
    ----------
    runtime : RuntimeName
    device : str
        cpu, cuda or cuda:N.
    lanes : int
        Batches computed side by side.
    """

    def __init__(self, runtime: RuntimeName, device: str, lanes: int) -> None:
        self.runtime, self.device, self.lanes = runtime, device, lanes
        self._backbones: dict[tuple[Any, ...], Backbone] = {}

    def load(self, path: Path, detector: Detector, precision: Precision) -> Model:
        """Load a detector.

        A detector that cannot be converted for OpenVINO is computed by PyTorch, and the log says
        so, unless the user asked for OpenVINO.

        Raises
        ------
        UsageError
            If the runtime asked for cannot be used.
        ExportError
            If the detector cannot be converted for the runtime asked for.
        medscan.errors.DetectorError
            If its file is damaged, its backbone is another one, or it is not ready for int8.
        """

        def single() -> Method:
            return self._method(path, detector, Precision.FP32)

        if choose_runtime(self.runtime, self.device, precision) is RuntimeName.OPENVINO:
            layers = _layers(detector) if precision is Precision.INT8 else ()
            try:
                return OpenVinoModel(graph_of(detector, single), precision, self.lanes, layers)
            except ExportError as error:
                if self.runtime is RuntimeName.OPENVINO or precision is Precision.INT8:
                    raise
                log.warning("detector %s is computed by PyTorch: %s", detector.name, error)
        return TorchModel(self._method(path, detector, precision), precision)

    def _method(self, path: Path, detector: Detector, precision: Precision) -> Method:
        tower = (detector.backbone, precision, *detector.tower.values())
        with one_thread():  # it encodes prompts
            if tower not in self._backbones:
                loaded = detector.load_backbone(device=self.device, precision=precision)
                self._backbones[tower] = loaded
            return detector.load_method(path, self._backbones[tower])


def _layers(detector: Detector) -> tuple[Layer, ...]:
    """How the linear layers of a detector are rounded for int8, as its last trial in it says."""
    found = [trial.layers for trial in detector.trials if trial.precision == Precision.INT8]
    if not found:
        raise DetectorError(
            f"detector {detector.name} has not been tried in int8: run medscan optimise on it"
        )
    return found[-1]
