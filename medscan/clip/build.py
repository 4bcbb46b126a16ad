"""A bundle on disk -> the model of open_clip or timm with its weights.

The model is first built on PyTorch's `meta` device, where tensors have shapes and no memory: what
a configuration describes is compared with what the file of weights holds, and tried on one image,
before either is allocated.
"""

from __future__ import annotations

import copy
import functools
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import open_clip
import timm
import torch
from open_clip.model import CLIPVisionCfg, _build_vision_tower, resize_pos_embed
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import QuickGELU
from safetensors.torch import load_file
from torch import Tensor, nn

from medscan.clip.config import has_foreign_text
from medscan.clip.header import read_header
from medscan.clip.towers import tower_of
from medscan.errors import WeightsError
from medscan.text import printable

if TYPE_CHECKING:
    from medscan.clip.store import Bundle

DTYPES = {
    "fp32": torch.float32,
    "mixed": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
VISUAL = "visual."
"""Before the names of a vision tower's tensors in open_clip."""
LARGEST_GRID = 96
"""Most patches along a side of the input; a ViT attends to all pairs of patches."""
SENTENCES_KEPT = 4096
"""Sentences whose tokens are kept: detectors of one organ ask for the same hundreds."""
REFUSALS = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError,
            AssertionError)  # fmt: skip
"""What open_clip and timm raise for a configuration that no model has."""

Config = dict[str, Any]


def build(bundle: Bundle, precision: str, size: int | None, quick_gelu: bool | None) -> Any:
    """Build the model of a bundle on the CPU; see `medscan.clip.load` for the arguments.

    Raises
    ------
    WeightsError
        If open_clip cannot build the model, the weights are not those of the model, a weight is
        not finite, or an image has too many patches.
    """
    if precision not in DTYPES:
        raise WeightsError(f"precision {precision}: choose one of {', '.join(DTYPES)}")
    config = copy.deepcopy(bundle.model)
    if bundle.is_vision:
        return _build_vision(bundle, config, size).to(DTYPES[precision])
    if quick_gelu is not None:
        config["quick_gelu"] = quick_gelu
    _check(bundle, lambda: _model(config), size)
    is_timm = bool(config["vision_cfg"].get("timm_model_name"))
    if size is not None and not is_timm:
        config["vision_cfg"]["image_size"] = size
    with _as_configured(bundle):
        model = _model(config)
    state = _finite(bundle, load_file(bundle.weights))
    if has_foreign_text(config):
        state = {name: tensor for name, tensor in state.items() if name.startswith(VISUAL)}
    if not is_timm:
        resize_pos_embed(state, model)
    model.load_state_dict(state)
    if is_timm:
        _resize(bundle, model, size)
    return model.to(DTYPES[precision])


class VisionTower(nn.Module):
    """A vision transformer of timm, with the place of open_clip's `visual`."""

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.trunk, self.head = trunk, nn.Identity()
        patches = getattr(trunk, "patch_embed", None)  # `tower_of` refuses what has none
        self.image_size = getattr(patches, "img_size", (1, 1))

    def set_input_size(self, size: int) -> None:
        """Take images of another side; positions are resized."""
        self.trunk.set_input_size(img_size=(size, size))
        self.image_size = (size, size)


class VisionOnly(nn.Module):
    """A model that has a vision tower and nothing else."""

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.visual = VisionTower(trunk)


def _build_vision(bundle: Bundle, config: Config, size: int | None) -> VisionOnly:
    """Build a vision tower alone, without the classifier that it may have been trained with."""
    _check(bundle, lambda: VisionOnly(_trunk(config)), size)
    with _as_configured(bundle):
        model = VisionOnly(_trunk(config))
    trunk = model.visual.trunk
    trunk.load_state_dict(_finite(bundle, load_file(bundle.weights)))
    trunk.reset_classifier(0)
    _resize(bundle, model, size)
    return model


def _trunk(config: Config) -> Any:
    """A model of timm with random weights."""
    arguments = dict(config["model_args"] or {})
    side = config["input_size"]
    if side is not None:
        arguments.setdefault("img_size", side[-1])
    if config["global_pool"] is not None:
        arguments["global_pool"] = config["global_pool"]
    classes = config["num_classes"] or 0
    return timm.create_model(
        config["architecture"], pretrained=False, num_classes=classes, **arguments
    )


def _resize(bundle: Bundle, model: Any, size: int | None) -> None:
    """Have a tower of timm take images of another side."""
    if size is not None:
        with _as_configured(bundle), warnings.catch_warnings(action="ignore"):
            model.visual.set_input_size(size)


def _check(bundle: Bundle, make: Callable[[], Any], size: int | None) -> None:
    """Compare the configuration with the weights, and with an image of the wanted size."""
    header = read_header(bundle.weights)
    if not bundle.is_vision and has_foreign_text(bundle.model):
        header = header.part(VISUAL)
    with _as_configured(bundle), torch.device("meta"):
        model = make()
        side = model.visual.image_size
        sides = side if isinstance(side, tuple | list) else (side, side)
        if sides[0] != sides[1]:
            raise ValueError("its input is not square")
        tower = tower_of(model.visual, bundle.name)
    named = model.visual.trunk if bundle.is_vision else model
    misfit = header.misfit(named.state_dict())
    if misfit:
        raise WeightsError(
            f"backbone {bundle.name}: the weights in {bundle.folder} do not have the shapes that "
            f"its configuration declares ({misfit})"
        )
    _check_grid(bundle, model.visual, tower.patch, size or sides[0])
    with _as_configured(bundle), torch.inference_mode():
        tokens = tower.embed(torch.zeros(1, 3, sides[0], sides[0], device="meta"))
        tower.pool(tower.block(1, tokens))


def _check_grid(bundle: Bundle, visual: Any, patch: int, side: int) -> None:
    """Refuse an image with too many patches, without any, or with a rest that timm refuses."""
    if not 1 <= side // patch <= LARGEST_GRID:
        raise WeightsError(
            f"backbone {bundle.name}: size {side} makes {side // patch} patches of {patch} pixels "
            f"along a side; choose a size with 1 to {LARGEST_GRID}"
        )
    if side % patch and getattr(getattr(visual, "trunk", None), "dynamic_img_size", False):
        raise WeightsError(
            f"backbone {bundle.name}: size {side} is no multiple of its patches of {patch} pixels"
        )


def _model(config: Config) -> Any:
    """open_clip's model with random weights."""
    config = copy.deepcopy(config)
    if has_foreign_text(config):
        return _vision_of(config)
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    config["vision_cfg"].pop("timm_model_pretrained", None)
    config.pop("multimodal_cfg", None)
    return kind(**config)


def _vision_of(config: Config) -> nn.Module:
    """The vision tower of a model of open_clip's, without its text tower."""
    vision = CLIPVisionCfg(**config["vision_cfg"] | {"timm_model_pretrained": False})
    model = nn.Module()
    model.visual = _build_vision_tower(config["embed_dim"], vision, bool(config.get("quick_gelu")))
    return model


def _finite(bundle: Bundle, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights as float32, if all of them are finite."""
    state = {name: tensor.float() for name, tensor in state.items()}
    for name, tensor in state.items():
        if not tensor.sum().isfinite():
            raise WeightsError(
                f"backbone {bundle.name}: {bundle.weights}: the tensor {name} is not finite; fetch "
                "it again"
            )
    return state


@contextmanager
def _as_configured(bundle: Bundle) -> Iterator[None]:
    """Say that a configuration describes no model; keep what open_clip logs meanwhile silent."""
    root_logger = logging.getLogger()
    level = root_logger.level
    root_logger.setLevel(logging.ERROR)
    try:
        yield
    except REFUSALS as error:
        why = printable((str(error).strip().splitlines() or [type(error).__name__])[0], 120)
        raise WeightsError(
            f"backbone {bundle.name}: the configuration in {bundle.folder} describes no model that "
            f"medscan can run ({why})"
        ) from error
    finally:
        root_logger.setLevel(level)


def set_text_activation(model: Any, *, quick: bool) -> None:
    """Give the text tower, if there is one, QuickGELU or GELU."""
    if not hasattr(getattr(model, "text", model), "transformer"):
        return
    for block in getattr(model, "text", model).transformer.resblocks:
        block.mlp.gelu = QuickGELU() if quick else nn.GELU()


def tokenizer(bundle: Bundle) -> Any:
    """open_clip's tokenizer with the context of the bundle's text tower; None for any other."""
    if bundle.is_vision or has_foreign_text(bundle.model):
        return None
    text = bundle.config["model_cfg"]["text_cfg"]
    if text.get("hf_tokenizer_name"):
        return None
    return _tokenizer(int(text.get("context_length", 77)))


@functools.cache
def _tokenizer(context: int) -> SimpleTokenizer:
    """CLIP's own, which takes a tenth of a second to read its vocabulary."""
    made = SimpleTokenizer(context_length=context)
    made.encode = functools.lru_cache(SENTENCES_KEPT)(made.encode)
    return made
