"""Detectors in memory, computed by PyTorch or by OpenVINO: one interface for both.

Imports neither library before a detector is loaded.
"""

from medscan.runtimes.base import Model, Output, Square
from medscan.runtimes.graphs import TOLERANCE, Graph, difference, make
from medscan.runtimes.load import Loader, choose_runtime
from medscan.runtimes.openvino import OpenVinoModel
from medscan.runtimes.pytorch import TorchModel
from medscan.runtimes.trace import converting, traced

__all__ = [
    "TOLERANCE",
    "Graph",
    "Loader",
    "Model",
    "OpenVinoModel",
    "Output",
    "Square",
    "TorchModel",
    "choose_runtime",
    "converting",
    "difference",
    "make",
    "traced",
]
