"""A detector as one ONNX graph, checked against PyTorch before it is kept."""

from __future__ import annotations

import itertools
import json
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medscan import __version__, archive, detector
from medscan.choices import MAX_FILE_BYTES, Plane
from medscan.detector import Detector
from medscan.errors import ExportError, UsageError
from medscan.files import replacing
from medscan.imaging import Slice, measure, render
from medscan.planning import fits

if TYPE_CHECKING:
    from medscan.methods import Method

TOLERANCE = 1e-4
"""Largest difference of a score or map from PyTorch's, relative where that is beyond 1."""
REAL = 8
"""Slices of the archive that are tried."""
LARGEST = 1 << 31
NEEDED = ("onnx", "onnxscript", "onnxruntime")


def export_onnx(path: Path, out: Path, roots: list[Path]) -> str:
    """Write a detector's backbone and method as one graph.

    Its input is `image`, float32 (N, 3, S, S) in [0, 1], letterboxed as `medscan.imaging.render`
    does; its outputs are `score` (N,) and `map` (N, G, G). N is free. What the detector is lies in
    the model's metadata under `medscan`, as JSON.

    Parameters
    ----------
    path : Path
        Of the detector.
    out : Path
        Of the graph; replaced in one rename, and only once it gives PyTorch's scores and maps.
    roots : list of Path
        Archives; slices of them that the detector is for are tried beside random ones.

    Returns
    -------
    str
        What was written and how it was checked.

    Raises
    ------
    UsageError
        A library is missing, or an archive holds nothing that the detector is for.
    ExportError
        The method does not become a graph, or the graph gives other numbers.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(f"--to onnx needs {', '.join(missing)}: pip install 'medscan[onnx]'")
    found = detector.read(path)
    backbone = found.load_backbone(device="cpu", precision="fp32")
    method = found.load_method(path, backbone)
    real = _real(found, backbone.size, roots) if roots else None
    model = _converted(found, method)
    with replacing(out) as aside:
        aside.write_bytes(model)
        worst = _check(aside, method, real)
    tried = "random slices" + ("" if real is None else f" and {len(real)} of the archive")
    return f"{out}: {found.method} on {found.backbone}; {tried} differ by at most {worst:.1e}"


def _converted(found: Detector, method: Method) -> bytes:
    """The graph, serialised.

    Raises
    ------
    ExportError
        The method does not become one.
    """
    import torch
    from torch._dynamo.exc import UserError

    size = method.backbone.size
    for name in ("torch", "torch.fx", "torch.export", "torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    sample = (torch.rand(2, 3, size, size),)
    free = {"image": {0: torch.export.Dim("batch", min=1)}}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            traced = torch.export.export(_whole(method), sample, dynamic_shapes=free)
            program: Any = torch.onnx.export(
                traced,
                dynamo=True,
                verbose=False,
                input_names=["image"],
                output_names=["score", "map"],
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, UserError) as error:
        why = " ".join(str(error).split())[:200]
        raise ExportError(f"method {found.method} does not become a graph: {why}") from error
    model = program.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = "medscan", json.dumps(_facts(found, size), sort_keys=True)
    if model.ByteSize() >= LARGEST:
        raise ExportError("the graph is larger than the 2 GiB that one file may have")
    serialised: bytes = model.SerializeToString()
    return serialised


def _whole(method: Method) -> Any:
    """From images to scores and maps, as one module."""
    from torch import Tensor, nn

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # The frozen tower is no part of the method, but one of the graph.
            self.method, self.tower = method, method.backbone.model

        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            score, grid = self.method.score(self.method(self.method.prepare(image)))
            return score.float(), grid.float()

    return Whole().eval()


def _facts(found: Detector, size: int) -> dict[str, Any]:
    """What a user of the graph must know."""
    return {
        "medscan_version": __version__,
        "detector": found.name,
        "detector_hash": found.digest,
        "method": found.method,
        "backbone": found.backbone,
        "backbone_hash": found.backbone_digest,
        "domain": str(found.domain),
        "window": found.window,
        "size": size,
        "slice_threshold": found.calibration.threshold,
        "map_low": found.calibration.map_low,
        "map_high": found.calibration.map_high,
        "licence": found.licence,
    }


def _check(path: Path, method: Method, real: NDArray[np.float32] | None) -> float:
    """Largest difference from PyTorch, over batches of one and of several.

    Raises
    ------
    ExportError
        It is too large.
    """
    import onnxruntime
    import torch
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    size = method.backbone.size
    random = np.random.default_rng(0).random((4, 3, size, size), dtype=np.float32)
    batches = [random[:1], random[1:]] + ([] if real is None else [real])
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        theirs = [session.run(["score", "map"], {"image": batch}) for batch in batches]
    except _refusals(errors) as error:
        raise ExportError(f"the graph does not run: {str(error)[:200]}") from error
    ours = [method.predict(torch.from_numpy(batch)) for batch in batches]
    worst = max(
        _apart(a, b.numpy())
        for pair in zip(theirs, ours, strict=True)
        for a, b in zip(*pair, strict=True)
    )
    if not worst <= TOLERANCE:
        raise ExportError(f"the graph's scores or maps differ from PyTorch's by {worst:.1e}")
    return worst


def _refusals(errors: Any) -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises; its errors have no base of their own."""
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented")
    return tuple(getattr(errors, name) for name in (*names, "RuntimeException"))


def _apart(theirs: NDArray[np.float32], ours: NDArray[np.float32]) -> float:
    """Largest difference, relative beyond 1; infinite where one is not a number."""
    apart = np.abs(theirs - ours) / np.maximum(1, np.abs(ours))
    return float(apart.max()) if np.isfinite(apart).all() else np.inf


def _real(found: Detector, size: int, roots: list[Path]) -> NDArray[np.float32]:
    """Slices (n, 3, S, S) of series that the detector is for, from the middle of their stacks.

    Raises
    ------
    UsageError
        There are none.
    """
    plane = Plane(found.domain.plane) if found.domain.plane else None
    drawn = list(itertools.islice(_slices(found, size, roots, plane), REAL))
    if not drawn:
        raise UsageError("--archive: it holds no slice that the detector was fitted for")
    square = (3, size, size)
    return np.stack([np.broadcast_to(s.image, square) for s in drawn]).astype(np.float32)


def _slices(found: Detector, size: int, roots: list[Path], plane: Plane | None) -> Iterator[Slice]:
    for study in archive.index(roots, plane).studies:
        for series in study.series:
            for stack in series.stacks:
                if fits(found.domain, series, stack, named=True):
                    middle = [stack.frames[len(stack.frames) // 2]]
                    window = measure(stack, found.window, series.modality, MAX_FILE_BYTES)
                    drawn = render(stack, middle, size, window, MAX_FILE_BYTES)
                    yield from (s for s in drawn if isinstance(s, Slice) and not s.background)
