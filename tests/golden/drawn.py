"""The random weights of the authors' runs, drawn again from their seeds.

PyTorch drew them from a Mersenne Twister. numpy's `RandomState` has the same stream and promises
never to change it. Double precision makes every machine round to the same weights.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import torch
from open_clip.model import CLIP
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "open_clip_config.json"
ROUNDED = HERE / "rounded.safetensors"


def write_backbone(folder: Path) -> None:
    """The tiny CLIP in open_clip's local-dir layout."""
    shutil.copy(CONFIG, folder)
    save_file(backbone(), folder / "open_clip_model.safetensors")


def backbone() -> dict[str, torch.Tensor]:
    """Weights of the tiny CLIP, all of them half-precision numbers."""
    weights = normal_weights()
    flat = torch.cat([tensor.flatten() for tensor in weights.values()])
    # PyTorch computed in single precision and so rounded a few weights to the other neighbour.
    rounded = load_file(ROUNDED)
    flat[rounded["index"].long()] = rounded["value"]
    parts = flat.split([tensor.numel() for tensor in weights.values()])
    state = {
        name: part.view_as(tensor).clone()
        for (name, tensor), part in zip(weights.items(), parts, strict=True)
    }
    state["visual.positional_embedding"] = state["visual.positional_embedding"].float()
    return state | {"logit_scale": torch.tensor(math.log(1 / 0.07)).half()}


def normal_weights() -> dict[str, torch.Tensor]:
    """The same before these corrections, in the order in which they were drawn from seed 7."""
    model = CLIP(**json.loads(CONFIG.read_text())["model_cfg"]).state_dict()
    shapes = {name: tensor.shape for name, tensor in model.items() if name != "logit_scale"}
    blocks = ("visual.transformer", "transformer", "token_embedding", "ln_final")
    stream = np.random.RandomState(7)
    weights = {}
    for name in sorted(shapes, key=lambda name: name.startswith(blocks)):
        numbers = spread(name) * _normal(stream, shapes[name].numel()) + middle(name)
        weights[name] = torch.from_numpy(numbers.astype(np.float16)).view(shapes[name])
    return weights


def middle(name: str) -> int:
    """Mean of a tensor: 1 for the gains of layer norms, otherwise 0."""
    return int("ln_" in name and name.endswith("weight"))


def spread(name: str) -> float:
    """Standard deviation of a tensor."""
    width, layers = (64, 12) if name.startswith("visual") else (36, 10)
    wide, deep = width**-0.5, (2 * layers * width) ** -0.5
    spreads = {
        "class_embedding": 0.3,
        "token_embedding.weight": 0.3,
        "positional_embedding": 0.1,
        "conv1.weight": 2 * 768**-0.5,
        "in_proj_weight": 1.6 * wide,
        "in_proj_bias": 0.1,
        "out_proj.weight": 3 * deep,
        "c_fc.weight": 1.2 * wide,
        "c_fc.bias": 0.1,
        "c_proj.weight": 1.2 * deep,
        "proj.bias": 0.02,
        "proj": wide,
        "projection": wide,
        "weight": 0.1,
        "bias": 0.05,
    }
    return next(value for ending, value in spreads.items() if name.endswith(ending))


def adapters(method: str) -> dict[str, torch.Tensor]:
    """Weights of a method's adapters under the authors' names, drawn from seed 15.

    MVFA and MedVMAD have the same, with their second linear layer multiplied by 4.
    """
    if method == "madclip":
        branches, shapes, gain = ("normal_det", "abnormal_det"), ((64, 64), (48, 64), (48, 64)), 1
    else:
        branches, shapes, gain = ("seg", "det"), ((48, 64), (64, 48)), 4
    stream = np.random.RandomState(15)
    weights = {}
    for branch in branches:
        for level in range(4):
            for number, shape in enumerate(shapes, 1):
                bound = np.float32(shape[1] ** -0.5).astype(np.float64)
                numbers = 2 * bound * _uniform(stream, math.prod(shape)) - bound
                tensor = torch.from_numpy(numbers.astype(np.float32)).view(shape)
                name = f"weight.{branch}_adapters.{level}.fc{number}.0.weight"
                weights[name] = tensor * gain if number == 2 else tensor
    return weights


def _uniform(stream: np.random.RandomState, count: int) -> np.ndarray:
    return (stream.randint(0, 2**32, count, dtype=np.uint32) % 2**24) / 2**24


def _normal(stream: np.random.RandomState, count: int) -> np.ndarray:
    """Box-Muller in blocks of 16; the last block is drawn anew if it does not fit the count."""
    rest = count % 16
    numbers = _block(_uniform(stream, count)[: count - rest])
    if not rest:
        return numbers
    return np.concatenate([numbers[: count - 16], _block(_uniform(stream, 16))])


def _block(uniform: np.ndarray) -> np.ndarray:
    first, second = uniform.reshape(-1, 2, 8).swapaxes(0, 1)
    radius, angle = np.sqrt(-2 * np.log1p(-first)), 2 * np.pi * second
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()
