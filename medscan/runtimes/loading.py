"""Detectors loaded by the library that computes them fastest on this machine."""

from __future__ import annotations

import logging
import os
import platform
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medscan.choices import Precision, RuntimeName
from medscan.clip import choose_device
from medscan.detector import Detector
from medscan.errors import ExportError, UsageError
from medscan.runtimes import openvino
from medscan.runtimes.base import Model
from medscan.runtimes.graphs import graph_of
from medscan.runtimes.openvino import OpenVinoModel
from medscan.runtimes.pytorch import TorchModel
from medscan.text import printable

if TYPE_CHECKING:
    from medscan.clip import Backbone
    from medscan.methods import Method

log = logging.getLogger("medscan.scan")

VARIABLE = "MEDSCAN_RUNTIME"
"""Environment variable with the runtime that `auto` stands for."""
CPU_INFO = Path("/proc/cpuinfo")
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
    if asked is RuntimeName.TORCH:
        return asked
    why = _obstacle(device, precision)
    if asked is RuntimeName.OPENVINO and why:
        raise UsageError(f"--runtime openvino: {why}; choose torch, or auto")
    unknown = asked is RuntimeName.AUTO and platform.machine() not in MEASURED
    return RuntimeName.TORCH if why or unknown else RuntimeName.OPENVINO


def choose_precision(detector: Detector, runtime: RuntimeName, device: str) -> Precision:
    """Return what `--precision auto` stands for: the fastest precision that changes nothing.

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
    may = asked is not RuntimeName.TORCH and Precision.BF16 in passed
    # Cheap questions first: the last one imports PyTorch where there may be a GPU.
    fast = may and openvino.installed() and computes_bf16() and choose_device(device) == "cpu"
    return Precision.BF16 if fast else Precision.FP32


@cache
def computes_bf16() -> bool:
    """Whether this CPU multiplies bfloat16, rather than emulates it."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", CPU_INFO.read_text(), re.MULTILINE)
    except OSError:  # not Linux
        return False
    return bool(flags and {"avx512_bf16", "amx_bf16"}.intersection(flags[1].split()))


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
    import torch

    return Loader(runtime, device, torch.get_num_threads()).load(path, detector, precision)


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
            If its file is damaged, or its backbone is another one.
        """

        def single() -> Method:
            return self._method(path, detector, Precision.FP32)

        if choose_runtime(self.runtime, self.device, precision) is RuntimeName.OPENVINO:
            try:
                return OpenVinoModel(graph_of(detector, single), precision, self.lanes)
            except ExportError as error:
                if self.runtime is RuntimeName.OPENVINO:
                    raise
                log.warning("detector %s is computed by PyTorch: %s", detector.name, error)
        return TorchModel(self._method(path, detector, precision), precision)

    def _method(self, path: Path, detector: Detector, precision: Precision) -> Method:
        tower = (detector.backbone, precision, *detector.tower.values())
        if tower not in self._backbones:
            loaded = detector.load_backbone(device=self.device, precision=precision)
            self._backbones[tower] = loaded
        return detector.load_method(path, self._backbones[tower])
