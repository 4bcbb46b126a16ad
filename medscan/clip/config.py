"""The JSON files of a bundle: the schema of every field that open_clip, timm and medscan read.

The values are checked but never converted, because the digest of a bundle covers them as written.
The fields of both towers are those of `open_clip.CLIPVisionCfg` and `open_clip.CLIPTextCfg`. A
vision tower that open_clip would look up on a hub is refused: a bundle is all there is of a
backbone. Such a text tower is left out, as is one that also writes: see `has_foreign_text`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from medscan.errors import WeightsError
from medscan.schema import CLOSED, OPEN, Count, Line, Scalar, checked

LARGEST_SIDE = 1024
"""Largest input side in pixels; a ViT attends to all pairs of its patches."""
LONGEST = 1 << 20
"""Bytes that a JSON file of a bundle may have."""


def _architecture(name: str) -> str:
    """Refuse what timm would take for the address of a model elsewhere."""
    if name.isascii() and name.replace("_", "").replace(".", "").isalnum():
        return name
    raise PydanticCustomError("architecture", "Input should be an architecture of timm's own")


def _nothing(value: Any) -> Any:
    if value in (None, False):
        return value
    raise PydanticCustomError(
        "elsewhere", "Input should be left out: a backbone is all that is in its folder"
    )


Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
"""Side of an image or a patch in pixels."""
Layers = Annotated[int, Field(ge=1, le=128)]
Width = Annotated[int, Field(ge=1, le=16384)]
"""Number of features, of heads, or of queries."""
Ratio = Annotated[float, Field(gt=0, le=32)]
Share = Annotated[float, Field(ge=0, le=1)]
Deviation = Annotated[float, Field(ge=1e-3, le=1)]
Nothing = Annotated[Any, AfterValidator(_nothing)]
Triple = tuple[Share, Share, Share]


@dataclass(frozen=True, slots=True)
class Norm:
    """Arguments of a LayerNorm."""

    __pydantic_config__ = CLOSED

    eps: Ratio = 1e-5


@dataclass(frozen=True, slots=True)
class Activation:
    """Arguments of GELU."""

    __pydantic_config__ = CLOSED

    approximate: Literal["none", "tanh"] = "none"


@dataclass(frozen=True, slots=True)
class Attention:
    """Variants of a block, which both towers may have."""

    __pydantic_config__ = CLOSED

    mlp_ratio: Ratio = 4.0
    ls_init_value: float | None = None
    final_ln_after_pool: bool = False
    output_tokens: bool = False
    act_kwargs: Activation | None = None
    norm_kwargs: Norm | None = None
    block_type: Literal["default", "custom"] | None = None
    qk_norm: bool = False
    scaled_cosine_attn: bool = False
    scale_heads: bool = False
    scale_attn_inner: bool = False
    scale_attn: bool = False
    scale_fc: bool = False


@dataclass(frozen=True, slots=True)
class VisionTower(Attention):
    """`vision_cfg`: open_clip's own vision transformer, or one that timm builds without weights."""

    layers: Layers | tuple[Layers, Layers, Layers, Layers] = 12
    width: Width = 768
    head_width: Width = 64
    patch_size: Side | None = 16
    image_size: Side | tuple[Side, Side] = 224
    patch_dropout: Share = 0.0
    attentional_pool: bool | Line = False
    attn_pooler_queries: Width = 256
    attn_pooler_heads: Width = 8
    no_ln_pre: bool = False
    pos_embed_type: Line = "learnable"
    pool_type: Line = "tok"
    timm_model_name: Annotated[Line, AfterValidator(_architecture)] | None = None
    timm_model_pretrained: Nothing = False
    timm_pool: Line = "avg"
    timm_proj: Line | None = "linear"
    timm_proj_bias: bool = False
    timm_drop: Share = 0.0
    timm_drop_path: Share | None = None


@dataclass(frozen=True, slots=True)
class TextTower(Attention):
    """`text_cfg`: CLIP's own text transformer; `context_length` tokens of a prompt are read."""

    context_length: Annotated[int, Field(ge=1, le=1024)] = 77
    vocab_size: Annotated[int, Field(ge=1, le=1 << 20)] = 49408
    hf_tokenizer_name: Line | None = None
    tokenizer_mode: Line | None = None
    tokenizer_kwargs: dict[str, Scalar] | None = None
    width: Width = 512
    heads: Width = 8
    layers: Layers = 12
    embed_cls: bool = False
    pad_id: Count = 0
    eos_id: Count = 2
    no_causal_mask: bool = False
    pool_type: Line = "argmax"
    proj_bias: bool = False
    proj_type: Line = "linear"
    hf_model_name: Line | None = None
    hf_model_pretrained: bool = True
    hf_proj_type: Line = "mlp"
    hf_pooler_type: Line = "mean_pooler"


@dataclass(frozen=True, slots=True)
class Model:
    """`model_cfg`: arguments of `open_clip.CLIP`, and whether the text tower is a module."""

    __pydantic_config__ = CLOSED

    embed_dim: Width
    vision_cfg: VisionTower
    text_cfg: TextTower
    quick_gelu: bool | None = None
    custom_text: bool | None = None
    init_logit_scale: float = 0.0
    init_logit_bias: float | None = None
    nonscalar_logit_scale: bool = False
    output_dict: bool = False
    multimodal_cfg: Any = None


@dataclass(frozen=True, slots=True)
class Preprocess:
    """`preprocess_cfg`: mean and standard deviation of each channel of an image in [0, 1]."""

    __pydantic_config__ = OPEN

    mean: Triple = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[Deviation, Deviation, Deviation] = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class Config:
    """`open_clip_config.json`."""

    __pydantic_config__ = OPEN

    model_cfg: Model
    preprocess_cfg: Preprocess = field(default_factory=Preprocess)


@dataclass(frozen=True, slots=True)
class Arguments:
    """`model_args`: what differs from timm's architecture of that name."""

    __pydantic_config__ = CLOSED

    img_size: Side | tuple[Side, Side] | None = None
    patch_size: Side | None = None
    embed_dim: Width | None = None
    depth: Layers | None = None
    num_heads: Width | None = None
    mlp_ratio: Ratio | None = None
    qkv_bias: bool | None = None
    init_values: float | None = None
    class_token: bool | None = None
    reg_tokens: Annotated[int, Field(ge=0, le=64)] | None = None
    num_reg_tokens: Annotated[int, Field(ge=0, le=64)] | None = None
    no_embed_class: bool | None = None
    act_layer: Literal["gelu", "gelu_tanh", "quick_gelu"] | None = None
    dynamic_img_size: bool | None = None
    rope_temperature: Annotated[float, Field(gt=0, le=1e6)] | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """`pretrained_cfg`: how timm's weights want their images, and who may use them."""

    __pydantic_config__ = OPEN

    input_size: tuple[Literal[3], Side, Side] | None = None
    mean: Triple = (0.485, 0.456, 0.406)
    std: tuple[Deviation, Deviation, Deviation] = (0.229, 0.224, 0.225)
    license: Line | None = None


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """`config.json` of timm: a vision tower without a text tower."""

    __pydantic_config__ = OPEN

    architecture: Annotated[Line, AfterValidator(_architecture)]
    num_classes: Annotated[int, Field(ge=0, le=1 << 17)] = 0
    global_pool: Line | None = None
    model_args: Arguments | None = None
    pretrained_cfg: Trained = field(default_factory=Trained)


@dataclass(frozen=True, slots=True)
class Origin:
    """`medscan.json`: where the weights came from, and the activation they were trained with.

    `captions` are words for all that the text tower was told of, where that is little; and
    `auroc_elsewhere` is how well it ranks what it was not told of.
    """

    __pydantic_config__ = OPEN

    name: Line | None = None
    source: Line | None = None
    source_sha256: Line | None = None
    sha256: Line | None = None
    licence: Line | None = None
    quick_gelu: bool | None = None
    captions: tuple[Line, ...] | None = None
    auroc_elsewhere: Line | None = None


def has_foreign_text(model: dict[str, Any]) -> bool:
    """Whether a `model_cfg` has a text tower of transformers, or one that writes as CoCa's does."""
    return bool(model["text_cfg"].get("hf_model_name") or model.get("multimodal_cfg"))


def read_config(
    kind: type[Config | VisionConfig | Origin], path: Path, name: str
) -> dict[str, Any]:
    """Read and check a JSON file of the backbone `name`.

    Raises
    ------
    WeightsError
        If it cannot be read, or a field that medscan reads is missing or of another type.
    """
    facts = read_json(path, name)
    checked(kind, facts, f"backbone {name}: {path}", WeightsError)
    return facts


def read_json(path: Path, name: str) -> dict[str, Any]:
    """Read a JSON file of the backbone `name`, whose fields are not checked yet.

    Raises
    ------
    WeightsError
        If it cannot be read.
    """
    try:
        if path.exists() and not (path.is_file() and path.stat().st_size <= LONGEST):
            raise WeightsError(
                f"backbone {name}: {path} is not a regular file, or has more than 1 MiB"
            )
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"backbone {name}: {path} is not a JSON file ({error!r})") from error
    return facts
