"""Export a detector as one ONNX graph, checked against PyTorch before it is kept."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medscan import __version__, archive, runtimes
from medscan import detector as detectors
from medscan.choices import Plane
from medscan.detector import Detector
from medscan.errors import ExportError, UsageError
from medscan.files import replacing
from medscan.imaging import Slice
from medscan.reading import measure, render
from medscan.routing import Answer, judge, verdict

if TYPE_CHECKING:
    from medscan.methods import Method

REAL = 8
"""Slices of the archive that the graph is tried on."""
LARGEST = 1 << 31
"""Size that a graph must stay below, bytes: ONNX files are protocol buffers."""
NEEDED = ("onnx", "onnxscript", "onnxruntime")


def export_onnx(path: Path, out: Path, roots: list[Path]) -> str:
    """Write a detector's backbone and method as one graph.

    Its input is `image`, float32 (N, 3, S, S) in [0, 1], letterboxed as by
    `medscan.imaging.render`; its outputs are `score` (N,) and `map` (N, G, G). N is free. The
    model's metadata describe the detector, as JSON under `medscan`.

    Parameters
    ----------
    path : Path
        File of the detector.
    out : Path
        File of the graph; replaced in one rename, once the graph gives PyTorch's scores and maps.
    roots : list of Path
        Archives; the graph is tried on random slices, and on slices of these that the detector was
        fitted for.

    Returns
    -------
    str
        Summary of what was written and how it was checked.

    Raises
    ------
    UsageError
        If a library is missing, or no slice of the archives fits the detector.
    ExportError
        If the method cannot be converted, or the graph gives other numbers.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"--to onnx needs {', '.join(missing)}: pip install 'medscan[onnx]'")
    detector = detectors.read(path)
    backbone = detector.load_backbone(device="cpu", precision="fp32")
    method = detector.load_method(path, backbone)
    real = _archive_slices(detector, backbone.size, roots) if roots else None
    graph = _convert(detector, method)
    with replacing(out) as aside:
        aside.write_bytes(graph)
        worst = _check(aside, method, real)
    tried = "random slices" + ("" if real is None else f" and {len(real)} of the archive")
    return f"{out}: {detector.method} on {detector.backbone}; {tried} differ by at most {worst:.1e}"


def _convert(detector: Detector, method: Method) -> bytes:
    """Convert backbone and method into a serialised graph.

    Raises
    ------
    ExportError
        If they cannot be converted, or the graph is too large.
    """
    import torch

    traced = runtimes.traced(method)
    with runtimes.converting(method), torch.no_grad():
        program: Any = torch.onnx.export(
            traced, dynamo=True, verbose=False, input_names=["image"], output_names=["score", "map"]
        )
    model = program.model_proto
    entry = model.metadata_props.add()
    facts = _facts(detector, method.backbone.size)
    entry.key, entry.value = "medscan", json.dumps(facts, sort_keys=True)
    if model.ByteSize() >= LARGEST:
        raise ExportError("the graph is larger than an ONNX file may be (2 GiB)")
    serialised: bytes = model.SerializeToString()
    return serialised


def _facts(detector: Detector, size: int) -> dict[str, Any]:
    """Description of the detector, for users of the graph."""
    return {
        "medscan_version": __version__,
        "detector": detector.name,
        "detector_hash": detector.digest,
        "method": detector.method,
        "backbone": detector.backbone,
        "backbone_hash": detector.backbone_digest,
        "domain": str(detector.domain),
        "window": detector.window,
        "size": size,
        "slice_threshold": detector.calibration.threshold,
        "map_low": detector.calibration.map_low,
        "map_high": detector.calibration.map_high,
        "licence": detector.licence,
        "backbone_licence": detector.backbone_licence,
    }


def _check(path: Path, method: Method, real: NDArray[np.float32] | None) -> float:
    """Largest difference from PyTorch, over batches of one and of several slices.

    Raises
    ------
    ExportError
        If the graph does not run, or the difference is too large.
    """
    import onnxruntime
    import torch
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    size = method.backbone.size
    random = np.random.default_rng(0).random((4, 3, size, size), dtype=np.float32)
    batches = [random[:1], random[1:]] + ([] if real is None else [real])
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        of_graph = [session.run(["score", "map"], {"image": batch}) for batch in batches]
    except _refusals(errors) as error:
        raise ExportError(f"the graph does not run: {str(error)[:200]}") from error
    of_torch = [method.predict(torch.from_numpy(batch)) for batch in batches]
    worst = max(
        runtimes.difference(a, b.numpy())
        for pair in zip(of_graph, of_torch, strict=True)
        for a, b in zip(*pair, strict=True)
    )
    if not worst <= runtimes.TOLERANCE:  # also if it is NaN
        raise ExportError(f"the graph's scores or maps differ from PyTorch's by {worst:.1e}")
    return worst


def _refusals(errors: Any) -> tuple[type[Exception], ...]:
    """Errors of ONNX Runtime, which have no common base class of their own."""
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented")
    return tuple(getattr(errors, name) for name in (*names, "RuntimeException"))


def _archive_slices(detector: Detector, size: int, roots: list[Path]) -> NDArray[np.float32]:
    """Slices (n, 3, S, S) of series that the detector was fitted for.

    Raises
    ------
    UsageError
        If the archives hold none.
    """
    plane = Plane(detector.domain.plane) if detector.domain.plane else None
    slices = list(itertools.islice(_middle_slices(detector, size, roots, plane), REAL))
    if not slices:
        raise UsageError("--archive: it holds no slice that the detector was fitted for")
    square = (3, size, size)
    return np.stack([np.broadcast_to(s.image, square) for s in slices]).astype(np.float32)


def _middle_slices(
    detector: Detector, size: int, roots: list[Path], plane: Plane | None
) -> Iterator[Slice]:
    """The middle slice of each fitting stack, unless it shows only background."""
    for study in archive.index(roots, plane).studies:
        for series in study.series:
            for stack in series.stacks:
                if verdict(judge(detector.domain, stack)) is not Answer.CONTRADICTS:
                    middle = [stack.frames[len(stack.frames) // 2]]
                    window = measure(stack, detector.window, series.modality)
                    rendered = render(stack, middle, size, window)
                    yield from (s for s in rendered if isinstance(s, Slice) and not s.background)
