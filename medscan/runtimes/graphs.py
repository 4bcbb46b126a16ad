"""Graphs of detectors, made once and kept in the user's cache folder.

Making one takes seconds, reading it a fraction of one, without PyTorch. A file is named by a digest
of all that decides its content: another detector, backbone or version has another file. It holds a
digest of its content too: a damaged graph would give wrong scores, and is made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medscan import __version__
from medscan.detector import Detector
from medscan.errors import DiskError, ExportError
from medscan.files import make_folder, make_room, private_files, replacing
from medscan.profile import Clock
from medscan.runtimes import openvino
from medscan.runtimes.base import Square
from medscan.runtimes.threads import one_thread
from medscan.runtimes.trace import converting, outputs, traced

if TYPE_CHECKING:
    from medscan.methods import Method

log = logging.getLogger("medscan.scan")

LAYOUT = 1
"""Changes whenever the same name would stand for other content."""
LIMIT = 4 << 30
"""Bytes of all graphs that are kept; the least recently used go first."""
TOLERANCE = 1e-4
"""Largest difference of a score or map from PyTorch's, relative for values beyond 1."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A detector as OpenVINO reads it.

    Its input is `image`, float32 (N, 3, S, S) in [0, 1], N free; its outputs are scores (N,) and
    maps (N, G, G), float32, and of a detector with a gate distances (N,).

    Parameters
    ----------
    structure : bytes
        XML.
    weights : uint8 (n,)
    square : Square
    """

    structure: bytes
    weights: NDArray[np.uint8]
    square: Square


def graph_of(detector: Detector, load: Callable[[], Method]) -> Graph:
    """Return the graph of a detector from the cache, or make and keep it.

    Parameters
    ----------
    detector : Detector
    load : callable
        Loads its method in single precision on the CPU; called only if the graph must be made.

    Raises
    ------
    ExportError
        If the method cannot be converted, or its graph gives other numbers than PyTorch.
    """
    path = folder() / graph_name(detector)
    graph = read(path)
    if graph is None:
        graph = make(load())
        _keep(path, graph)
    return graph


def folder() -> Path:
    """Return `medscan/graphs` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "medscan" / "graphs"


def graph_name(detector: Detector) -> str:
    """Name of the file of a detector's graph: a digest of all that decides its content."""
    facts = {
        "layout": LAYOUT,
        "detector": detector.digest,
        "backbone": detector.backbone_digest,
        "medscan": f"{__version__} {_sources()}",
        "openvino": version("openvino"),
        "torch": version("torch"),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    return f"{digest.hexdigest()}.safetensors"


@cache
def _sources() -> str:
    """Digest of the code that a graph is made of, which may change without a new version."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for room in ("clip", "methods", "parts", "runtimes"):
        for path in sorted((package / room).glob("*.py")):
            digest.update(path.read_bytes())
    digest.update((package / "tiles.py").read_bytes())
    return digest.hexdigest()


def make(method: Method) -> Graph:
    """Convert a method with its backbone, and check the graph against PyTorch.

    Raises
    ------
    ExportError
        If it cannot be converted, or gives other numbers.
    """
    square = Square.of(method.backbone)
    openvino.library()  # before PyTorch's tracer, which may import it too
    with one_thread(), converting(method), tempfile.TemporaryDirectory() as name:
        program = traced(method, gated=True)
        path = Path(name) / "graph.xml"
        openvino.convert(program, path)
        weights = np.fromfile(path.with_suffix(".bin"), np.uint8)
        graph = Graph(path.read_bytes(), weights, square)
        _check(graph, method)
    return graph


def _check(graph: Graph, method: Method) -> None:
    """Compare with PyTorch on random slices."""
    import torch

    from medscan.choices import Precision

    model, size = openvino.OpenVinoModel(graph, Precision.FP32, 1), graph.square.size
    images = np.random.default_rng(0).random((2, 3, size, size), dtype=np.float32)
    found = model.run(images, Clock())
    ours = [*found.wait(Clock()), *[found.distances()] * (method.gate is not None)]
    theirs = outputs(method, torch.from_numpy(images))
    worst = max(difference(a, b.numpy()) for a, b in zip(ours, theirs, strict=True))
    if not worst <= TOLERANCE:  # also if it is NaN
        raise ExportError(f"what its graph computes differs from PyTorch's by {worst:.1e}")


def difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Largest difference, relative for values beyond 1; infinite if any is not finite."""
    found = np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))
    return float(found.max()) if np.isfinite(found).all() else np.inf


# --- the cache ----------------------------------------------------------------------------------


def read(path: Path) -> Graph | None:
    """Read a graph; None if it is not there, or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            facts = json.loads(file.metadata()["medscan"])
            structure, weights = (file.get_tensor(name) for name in ("structure", "weights"))
        square = Square(**facts["square"])
        graph = Graph(structure.tobytes(), weights, square)
        if facts["digest"] == _digest(graph):
            os.utime(path)
            return graph
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        log.debug("a graph in the cache cannot be read: %s", error)
        return None
    log.warning("%s is damaged: the graph is made again", path)
    return None


def _keep(path: Path, graph: Graph) -> None:
    """Keep a graph for later scans; without a place for it, each scan makes its own."""
    from safetensors.numpy import save

    facts = {"square": asdict(graph.square), "digest": _digest(graph)}
    tensors = {"structure": np.frombuffer(graph.structure, np.uint8), "weights": graph.weights}
    data = save(tensors, metadata={"medscan": json.dumps(facts, sort_keys=True)})
    try:
        with private_files(True):
            make_folder(path.parent)
            make_room(path.parent, LIMIT - len(data))
            with replacing(path, synced=False) as aside:
                aside.write_bytes(data)
    except (DiskError, OSError) as error:
        log.warning("a graph is not kept for the next scan: %s", error)


def _digest(graph: Graph) -> str:
    digest = hashlib.sha256(json.dumps(asdict(graph.square)).encode())
    digest.update(graph.structure)
    digest.update(graph.weights.data)
    return digest.hexdigest()
