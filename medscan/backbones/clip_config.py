"""Tensors of a CLIP in open_clip's naming -> the configuration that open_clip builds it by."""

from __future__ import annotations

from typing import Any

from medscan.backbones.families import State


def clip_config(
    state: State,
    *,
    quick_gelu: bool,
    vision_heads: int | None = None,
    text_heads: int | None = None,
) -> dict[str, Any]:
    """Derive `model_cfg` of open_clip from the shapes of the weights of a vision transformer.

    Parameters
    ----------
    state : dict of Tensor
    quick_gelu : bool
    vision_heads, text_heads : int or None
        Attention heads, which no shape tells; None: of 64 numbers each, as OpenAI's are.

    Raises
    ------
    KeyError
        If a tensor of a CLIP with a vision transformer is missing.
    """
    width, _, patch, _ = state["visual.conv1.weight"].shape
    grid = round((state["visual.positional_embedding"].shape[0] - 1) ** 0.5)
    text_width = int(state["ln_final.weight"].shape[0])
    return {
        "embed_dim": int(state["text_projection"].shape[1]),
        "quick_gelu": quick_gelu,
        "vision_cfg": {
            "image_size": grid * patch,
            "layers": _count(state, "visual.transformer.resblocks."),
            "width": width,
            "patch_size": patch,
            "head_width": 64 if vision_heads is None else width // vision_heads,
        },
        "text_cfg": {
            "context_length": int(state["positional_embedding"].shape[0]),
            "vocab_size": int(state["token_embedding.weight"].shape[0]),
            "width": text_width,
            "heads": max(1, text_width // 64) if text_heads is None else text_heads,
            "layers": _count(state, "transformer.resblocks."),
        },
    }


def _count(state: State, prefix: str) -> int:
    """Number of transformer blocks below a prefix of names."""
    return len({k[len(prefix) :].split(".")[0] for k in state if k.startswith(prefix)})
