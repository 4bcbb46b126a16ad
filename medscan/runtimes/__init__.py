"""Detectors in memory, computed by PyTorch or by OpenVINO: one interface for both.

Imports neither library before a detector is loaded.
"""

from medscan.runtimes.base import AS_CALIBRATED, Computed, Model, Output, Square
from medscan.runtimes.cpu import computes_bf16
from medscan.runtimes.graphs import TOLERANCE, Graph, difference, graph_of, make
from medscan.runtimes.loading import (
    Loader,
    choose_precision,
    choose_runtime,
    load,
    lower_precisions,
)
from medscan.runtimes.openvino import OpenVinoModel, measure_layers
from medscan.runtimes.pytorch import TorchModel
from medscan.runtimes.threads import cores, one_thread
from medscan.runtimes.trace import converting, outputs, traced

__all__ = [
    "AS_CALIBRATED",
    "TOLERANCE",
    "Computed",
    "Graph",
    "Loader",
    "Model",
    "OpenVinoModel",
    "Output",
    "Square",
    "TorchModel",
    "choose_precision",
    "choose_runtime",
    "computes_bf16",
    "converting",
    "cores",
    "difference",
    "graph_of",
    "load",
    "lower_precisions",
    "make",
    "measure_layers",
    "one_thread",
    "outputs",
    "traced",
]
