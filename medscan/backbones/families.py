"""Kinds of towers in Hugging Face transformers, and how their tensors are called in timm.

Names are those of modeling_dinov2.py, modeling_dinov2_with_registers.py, modeling_dinov3_vit.py,
modeling_siglip.py and modeling_clip.py of transformers 5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from medscan.clip import config

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of tower in transformers, and timm's.

    Parameters
    ----------
    architecture, gated : str
        timm's name of one of its sizes, and of one whose feed-forward layers are gated.
    heads, activation, eps : int, str, float
        What transformers takes where a configuration says nothing.
    names : dict
        Regular expressions of whole names, and timm's names; an empty one is left out on purpose.
    finish : callable
        What remains to be done to the tensors.
    mean, std : tuple of 3 floats
        Normalisation where the folder says nothing.
    rotary : bool
        Whether positions are rotary, so that registers have an argument of another name.
    """

    architecture: str
    heads: int
    activation: str
    eps: float
    names: dict[str, str]
    finish: Callable[[State], None]
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    gated: str = ""
    rotary: bool = False


def fuse(state: State, prefix: str, parts: Iterable[str], kinds: Iterable[str], to: str) -> None:
    """Join the tensors `prefix.part.kind` of some parts, in their order, as `prefix.to.kind`."""
    for kind in kinds:
        names = [f"{prefix}{part}.{kind}" for part in parts]
        if names[0] in state:
            state[f"{prefix}{to}.{kind}"] = torch.cat([state.pop(name) for name in names])


def _fuse_blocks(state: State, kinds: Iterable[str] = ("weight", "bias")) -> None:
    for prefix in sorted({m[0] for name in state if (m := re.match(r"blocks\.\d+\.attn\.", name))}):
        fuse(state, prefix, "qkv", kinds, "qkv")


def _finish_dinov2(state: State) -> None:
    _fuse_blocks(state)
    if "reg_token" in state:  # timm's positions are then those of patches alone
        positions = state["pos_embed"]
        state["cls_token"] = state["cls_token"] + positions[:, :1]
        state["pos_embed"] = positions[:, 1:].clone()


def _finish_dinov3(state: State) -> None:
    _fuse_blocks(state, ("weight",))
    for name in [name for name in state if re.fullmatch(r"blocks\.\d+\.attn\.[qv]\.bias", name)]:
        state[name.replace(".bias", "_bias")] = state.pop(name)
    if not any(".fc1_g." in name for name in state):
        for name in [name for name in state if ".fc1_x." in name]:
            state[name.replace(".fc1_x.", ".fc1.")] = state.pop(name)
    if not state["reg_token"].shape[1]:
        del state["reg_token"]


def _finish_siglip(state: State) -> None:
    _fuse_blocks(state)
    state["pos_embed"] = state["pos_embed"][None]
    for kind in ("weight", "bias"):
        if (packed := state.pop(f"attn_pool.in.{kind}", None)) is not None:
            width = len(packed) // 3
            state[f"attn_pool.q.{kind}"] = packed[:width].clone()
            state[f"attn_pool.kv.{kind}"] = packed[width:].clone()


def _finish_clip(state: State) -> None:
    _fuse_blocks(state)
    state["pos_embed"] = state["pos_embed"][None]
    state["cls_token"] = state["cls_token"].view(1, 1, -1)


_DINOV2 = {
    r"embeddings\.cls_token": "cls_token",
    r"embeddings\.mask_token": "",
    r"embeddings\.register_tokens": "reg_token",
    r"embeddings\.position_embeddings": "pos_embed",
    r"embeddings\.patch_embeddings\.projection\.(\w+)": r"patch_embed.proj.\1",
    r"layernorm\.(\w+)": r"norm.\1",
    r"encoder\.layer\.(\d+)\.(norm[12])\.(\w+)": r"blocks.\1.\2.\3",
    r"encoder\.layer\.(\d+)\.attention\.attention\.(q|k|v)\w+\.(\w+)": r"blocks.\1.attn.\2.\3",
    r"encoder\.layer\.(\d+)\.attention\.output\.dense\.(\w+)": r"blocks.\1.attn.proj.\2",
    r"encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1": r"blocks.\1.ls\2.gamma",
    r"encoder\.layer\.(\d+)\.mlp\.(fc[12])\.(\w+)": r"blocks.\1.mlp.\2.\3",
    r"encoder\.layer\.(\d+)\.mlp\.weights_in\.(\w+)": r"blocks.\1.mlp.fc1.\2",
    r"encoder\.layer\.(\d+)\.mlp\.weights_out\.(\w+)": r"blocks.\1.mlp.fc2.\2",
}
_DINOV3 = {
    r"embeddings\.cls_token": "cls_token",
    r"embeddings\.mask_token": "",
    r"embeddings\.register_tokens": "reg_token",
    r"embeddings\.patch_embeddings\.(\w+)": r"patch_embed.proj.\1",
    r"norm\.(\w+)": r"norm.\1",
    r"layer\.(\d+)\.(norm[12])\.(\w+)": r"blocks.\1.\2.\3",
    r"layer\.(\d+)\.attention\.(q|k|v)_proj\.(\w+)": r"blocks.\1.attn.\2.\3",
    r"layer\.(\d+)\.attention\.o_proj\.(\w+)": r"blocks.\1.attn.proj.\2",
    r"layer\.(\d+)\.layer_scale([12])\.lambda1": r"blocks.\1.gamma_\2",
    r"layer\.(\d+)\.mlp\.gate_proj\.(\w+)": r"blocks.\1.mlp.fc1_g.\2",
    r"layer\.(\d+)\.mlp\.up_proj\.(\w+)": r"blocks.\1.mlp.fc1_x.\2",
    r"layer\.(\d+)\.mlp\.down_proj\.(\w+)": r"blocks.\1.mlp.fc2.\2",
}
_LAYERS = {
    r"encoder\.layers\.(\d+)\.layer_norm([12])\.(\w+)": r"blocks.\1.norm\2.\3",
    r"encoder\.layers\.(\d+)\.self_attn\.(q|k|v)_proj\.(\w+)": r"blocks.\1.attn.\2.\3",
    r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(\w+)": r"blocks.\1.attn.proj.\2",
    r"encoder\.layers\.(\d+)\.mlp\.(fc[12])\.(\w+)": r"blocks.\1.mlp.\2.\3",
    r"embeddings\.patch_embedding\.(\w+)": r"patch_embed.proj.\1",
    r"embeddings\.position_embedding\.weight": "pos_embed",
    r"embeddings\.position_ids": "",
    r"post_layernorm\.(\w+)": r"norm.\1",
}
_SIGLIP = _LAYERS | {
    r"head\.probe": "attn_pool.latent",
    r"head\.attention\.in_proj_(\w+)": r"attn_pool.in.\1",
    r"head\.attention\.out_proj\.(\w+)": r"attn_pool.proj.\1",
    r"head\.layernorm\.(\w+)": r"attn_pool.norm.\1",
    r"head\.mlp\.(fc[12])\.(\w+)": r"attn_pool.mlp.\1.\2",
}
_CLIP = _LAYERS | {
    r"embeddings\.class_embedding": "cls_token",
    r"pre_layrnorm\.(\w+)": r"norm_pre.\1",
    r"visual_projection\.weight": "",
}
_HALF = (0.5, 0.5, 0.5)
_CLIP_IMAGES = config.Preprocess()
_DINOV2_FAMILY = Family(
    "vit_base_patch14_dinov2", 12, "gelu", 1e-6, _DINOV2, _finish_dinov2,
    gated="vit_giant_patch14_dinov2",
)  # fmt: skip
FAMILIES: dict[str, Family] = {
    "dinov2": _DINOV2_FAMILY,
    "dinov2_with_registers": Family(
        "vit_base_patch14_reg4_dinov2", 12, "gelu", 1e-6, _DINOV2, _finish_dinov2,
        gated="vit_giant_patch14_reg4_dinov2",
    ),
    "dinov3_vit": Family(
        "vit_base_patch16_dinov3_qkvb", 6, "gelu", 1e-5, _DINOV3, _finish_dinov3,
        gated="vit_small_plus_patch16_dinov3_qkvb", rotary=True,
    ),
    "siglip": Family(
        "vit_base_patch16_siglip_224", 12, "gelu_pytorch_tanh", 1e-6, _SIGLIP, _finish_siglip,
        _HALF, _HALF,
    ),
    "clip": Family(
        "vit_base_patch16_clip_224", 12, "quick_gelu", 1e-5, _CLIP, _finish_clip,
        _CLIP_IMAGES.mean, _CLIP_IMAGES.std,
    ),
}  # fmt: skip

_RESBLOCKS = {
    r"encoder\.layers\.(\d+)\.layer_norm([12])\.(\w+)": r"transformer.resblocks.\1.ln_\2.\3",
    r"encoder\.layers\.(\d+)\.self_attn\.(q|k|v)_proj\.(\w+)": (
        r"transformer.resblocks.\1.attn.\2.\3"
    ),
    r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(\w+)": (
        r"transformer.resblocks.\1.attn.out_proj.\2"
    ),
    r"encoder\.layers\.(\d+)\.mlp\.fc1\.(\w+)": r"transformer.resblocks.\1.mlp.c_fc.\2",
    r"encoder\.layers\.(\d+)\.mlp\.fc2\.(\w+)": r"transformer.resblocks.\1.mlp.c_proj.\2",
    r"embeddings\.position_embedding\.weight": "positional_embedding",
    r"embeddings\.position_ids": "",
}
VISUAL = _RESBLOCKS | {
    r"embeddings\.class_embedding": "class_embedding",
    r"embeddings\.patch_embedding\.weight": "conv1.weight",
    r"pre_layrnorm\.(\w+)": r"ln_pre.\1",
    r"post_layernorm\.(\w+)": r"ln_post.\1",
}
TEXT = _RESBLOCKS | {
    r"embeddings\.token_embedding\.weight": "token_embedding.weight",
    r"final_layer_norm\.(\w+)": r"ln_final.\1",
}
