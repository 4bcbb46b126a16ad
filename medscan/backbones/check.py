"""A backbone on trial before it is kept: its tokens are finite, and those of the source library.

timm and open_clip offer the tokens after chosen blocks themselves (`forward_intermediates`), and so
does Hugging Face transformers, which is asked only where it is installed, and only for a folder of
its own. None of them runs code that comes with weights.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medscan.clip import Backbone
from medscan.errors import WeightsError
from medscan.text import printable

LARGEST = 1e-5
"""Difference of a token from the source library's, in units of the largest number among them."""


def check_backbone(backbone: Backbone, folder: Path | None = None) -> str:
    """Compare the tokens of one image with those of the source library, at four depths.

    Parameters
    ----------
    backbone : Backbone
    folder : Path, optional
        Of Hugging Face transformers, from which it was converted.

    Returns
    -------
    str
        What it was compared with, and the largest difference.

    Raises
    ------
    WeightsError
        If a token is not finite, or another one than the source library's.
    """
    generator = torch.Generator().manual_seed(0)
    side = backbone.size
    image = backbone.normalise(torch.rand(1, 3, side, side, generator=generator))
    with torch.inference_mode():
        found = backbone.features(image, backbone.taps(), pooled=True)
        if not all(tokens.isfinite().all() for tokens in (*found.levels, found.last)):
            raise WeightsError(f"backbone {backbone.name}: its tokens of an image are not finite")
        visual = backbone.model.visual
        of_library = intermediates(visual, image, backbone.taps())
        said = [_compared(backbone, found.levels, of_library, _library(visual))]
        if folder is not None and (theirs := _of_transformers(folder, image, backbone)):
            said.append(_compared(backbone, found.levels, *theirs))
    return "; ".join(said)


def intermediates(visual: Any, images: Tensor, taps: Sequence[int]) -> list[Tensor]:
    """Patch tokens (B, N, d) after blocks, from 1, by the library's own function."""
    source = getattr(visual, "trunk", visual)
    options = {"indices": [tap - 1 for tap in taps], "output_fmt": "NLC"}
    found = source.forward_intermediates(images, intermediates_only=True, **options)
    return list(found["image_intermediates"] if isinstance(found, dict) else found)


def _library(visual: Any) -> str:
    return "timm" if hasattr(visual, "trunk") else "open_clip_torch"


def _compared(
    backbone: Backbone, levels: Sequence[Tensor], theirs: Sequence[Tensor], library: str
) -> str:
    """Say how far the patches of the levels (B, 1 + N, d) are from the library's (B, N, d)."""
    worst = max(
        float((level[:, 1:] - other).abs().max() / other.abs().max().clamp_min(1))
        for level, other in zip(levels, theirs, strict=True)
    )
    if not worst <= LARGEST:
        raise WeightsError(
            f"backbone {backbone.name}: its tokens differ from those of {library} by {worst:.1e}"
        )
    return f"{library} {importlib.metadata.version(library)} to {worst:.0e}"


def _of_transformers(
    folder: Path, image: Tensor, backbone: Backbone
) -> tuple[list[Tensor], str] | None:
    """Patch tokens by Hugging Face transformers; None where it is not installed."""
    try:
        from transformers import AutoModel
        from transformers.utils import logging
    except ImportError:
        return None
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model = AutoModel.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError, LookupError, RuntimeError) as error:
        raise WeightsError(
            f"{folder}: transformers cannot load it ({printable(str(error), 120)})"
        ) from error
    tower = getattr(model, "vision_model", model).float().eval()
    states = tower(pixel_values=image, output_hidden_states=True).hidden_states
    patches = backbone.grid**2
    return [states[tap][:, -patches:] for tap in backbone.taps()], "transformers"
