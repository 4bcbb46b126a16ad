"""Numbers of the authors' own code, and how medscan's are compared with them.

README.md says where they come from and what each tensor means. Every clone has a subset. Where
`shared/golden` lies beside the checkout, tests read all the numbers from there instead.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import safe_open

from medscan import clip
from tests.golden import drawn

HERE = Path(__file__).resolve().parent
WHOLE = HERE.parents[2] / "shared" / "golden"
FOLDER = WHOLE if WHOLE.is_dir() else HERE


@dataclass(frozen=True)
class Sample:
    """Every `step`-th number of a tensor, in row-major order."""

    values: torch.Tensor
    shape: tuple[int, ...]
    step: int

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The numbers at the same positions in another tensor of this shape."""
        assert tuple(tensor.shape) == self.shape
        return tensor.flatten()[:: self.step]


def of_method(name: str, folder: Path = FOLDER) -> dict[str, torch.Tensor | Sample]:
    """Tensors of a method, its adapters' weights, and the towers' tensors under `taps.`."""
    taps = {f"taps.{key}": tensor for key, tensor in read("taps", folder).items()}
    return drawn.adapters(name) | read(name, folder) | taps


def read(name: str, folder: Path = FOLDER) -> dict[str, torch.Tensor | Sample]:
    """Tensors of a file; a byte k stands for k/255, and half precision becomes single."""
    with safe_open(folder / f"{name}.safetensors", "pt") as file:
        sampled = json.loads((file.metadata() or {}).get("sampled", "{}"))
        tensors = {name: _unpacked(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    return tensors | {
        name: Sample(tensors[name], tuple(shape), step) for name, (shape, step) in sampled.items()
    }


def _unpacked(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.dtype == torch.uint8:
        return tensor.float() / 255
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def off(ours: torch.Tensor, theirs: torch.Tensor | Sample) -> float:
    """Largest absolute difference, divided by the largest absolute value of theirs."""
    if isinstance(theirs, Sample):
        ours, theirs = theirs.of(ours), theirs.values
    assert ours.shape == theirs.shape
    return float((ours.detach() - theirs).abs().max() / theirs.abs().max())


@cache
def backbone(**activations: bool) -> clip.Backbone:
    """The tiny CLIP that the authors' code ran on; `activations` as for `clip.load`."""
    with TemporaryDirectory() as folder:
        drawn.write_backbone(Path(folder))
        return clip.load(f"local-dir:{folder}", **activations)
