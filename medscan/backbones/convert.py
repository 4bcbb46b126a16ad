"""Folders of Hugging Face transformers -> the tensors and the configuration of timm or open_clip.

Nothing of a folder is run: `config.json` says how many heads there are and which activation, all
other sizes are those of the tensors in `model.safetensors`, whose names are mapped one by one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from medscan.backbones.clip_config import clip_config
from medscan.backbones.families import FAMILIES, TEXT, VISUAL, Family, State, fuse
from medscan.clip import config as schema
from medscan.errors import WeightsError
from medscan.schema import OPEN, Line, checked
from medscan.text import printable

ACTIVATIONS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "quick_gelu"}
"""Names of activations in transformers and in timm."""
PREFIXES = ("vision_model.", "dinov2.", "dinov2_with_registers.", "dinov3_vit.", "model.")
"""Before the names of a tower that is a part of a larger model."""


@dataclass(frozen=True, slots=True)
class Tower:
    """What a `config.json` says of a tower that its tensors do not; None where it says nothing."""

    __pydantic_config__ = OPEN

    num_attention_heads: schema.Width | None = None
    hidden_act: Line | None = None
    layer_norm_eps: float | None = None
    image_size: schema.Side | None = None
    rope_theta: Annotated[float, Field(gt=0, le=1e6)] | None = None


@dataclass(frozen=True, slots=True)
class Preprocessor:
    """`preprocessor_config.json`: how images are normalised."""

    __pydantic_config__ = OPEN

    image_mean: schema.Triple | None = None
    image_std: tuple[schema.Deviation, schema.Deviation, schema.Deviation] | None = None


def convert(folder: Path, facts: dict[str, Any], state: State) -> tuple[State, dict[str, Any]]:
    """Bring a folder's tensors and its `config.json` into the layout of open_clip or timm.

    A CLIP with its text tower becomes one of open_clip's; every other tower one of timm's.

    Raises
    ------
    WeightsError
        If the folder is of another kind, or a tensor is missing, left over or of a strange shape.
    """
    kind = str(facts.get("model_type"))
    family = FAMILIES.get(kind.removesuffix("_vision_model"))
    if family is None:
        raise WeightsError(
            f"{folder}: holds a model of type {printable(kind, 80)}; import one of "
            f"{', '.join(FAMILIES)}"
        )
    try:
        if kind == "clip":
            return _convert_clip(folder, facts, state)
        return _convert_tower(folder, family, facts, state)
    except (LookupError, ValueError, ArithmeticError, RuntimeError) as error:
        raise WeightsError(
            f"{folder}: its tensors are not those of a {kind} ({printable(str(error), 120)})"
        ) from error


def _convert_tower(
    folder: Path, family: Family, facts: dict[str, Any], state: State
) -> tuple[State, dict[str, Any]]:
    """One vision tower; the text tower beside it, if any, is left out."""
    tower = _tower(folder, facts.get("vision_config", facts), family)
    theirs = {_stripped(name): tensor for name, tensor in state.items() if not _is_text(name)}
    found = _renamed(folder, theirs, family.names)
    family.finish(found)
    gated = any("weights_in" in name or "gate_proj" in name for name in theirs)
    arguments = _arguments(found, tower, family, gated=gated)
    mean, std = _normalisation(folder, family)
    side = arguments["img_size"]
    return found, {
        "architecture": family.gated if gated else family.architecture,
        "num_classes": 0,
        "model_args": arguments,
        "pretrained_cfg": {"input_size": [3, side, side], "mean": mean, "std": std},
    }


def _arguments(state: State, tower: Tower, family: Family, *, gated: bool) -> dict[str, Any]:
    """Arguments of timm's model: sizes from the tensors, all else from the configuration."""
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    depth = len({match[1] for name in state if (match := re.match(r"blocks\.(\d+)\.", name))})
    hidden = next(state[f"blocks.0.mlp.{n}.weight"] for n in ("fc1", "fc1_x") if _has(state, n))
    arguments: dict[str, Any] = {
        "patch_size": patch,
        "embed_dim": width,
        "depth": depth,
        "num_heads": tower.num_attention_heads or family.heads,
        "mlp_ratio": _ratio(len(hidden), width),
        "img_size": tower.image_size or 224,
    }
    if "pos_embed" in state:
        tokens = state["pos_embed"].shape[1]
        grid = int((tokens if tokens == int(tokens**0.5) ** 2 else tokens - 1) ** 0.5)
        arguments["img_size"] = grid * patch
    activation = tower.hidden_act or family.activation
    if family.rotary and activation != ("silu" if gated else "gelu"):
        raise ValueError(f"activation {activation}")
    if not (family.rotary or gated):
        arguments["act_layer"] = ACTIVATIONS[activation]
    registers = state["reg_token"].shape[1] if "reg_token" in state else 0
    if family.rotary:
        arguments |= {"num_reg_tokens": registers, "rope_temperature": tower.rope_theta or 100.0}
    elif registers:
        arguments["reg_tokens"] = registers
    return arguments


def _convert_clip(
    folder: Path, facts: dict[str, Any], state: State
) -> tuple[State, dict[str, Any]]:
    """Both towers of a CLIP."""
    towers = {
        part: _tower(folder, facts.get(f"{part}_config") or {}, FAMILIES["clip"])
        for part in ("vision", "text")
    }
    activations = {tower.hidden_act or FAMILIES["clip"].activation for tower in towers.values()}
    if len(activations) > 1 or not activations <= {"gelu", "quick_gelu"}:
        raise ValueError(f"activation {' and '.join(sorted(activations))}")
    parts = {"vision_model.": (VISUAL, "visual."), "text_model.": (TEXT, "")}
    rest = dict(state)
    found: State = {}
    for prefix, (names, ours) in parts.items():
        own = {n.removeprefix(prefix): rest.pop(n) for n in state if n.startswith(prefix)}
        renamed = _renamed(folder, own, names)
        _pack(renamed)
        found |= {f"{ours}{name}": tensor for name, tensor in renamed.items()}
    found["visual.proj"] = rest.pop("visual_projection.weight").T.contiguous()
    found["text_projection"] = rest.pop("text_projection.weight").T.contiguous()
    found["logit_scale"] = rest.pop("logit_scale")
    if rest:
        raise ValueError(f"the tensor {next(iter(rest))} has no place in it")
    config = _clip_config(found, towers, quick="quick_gelu" in activations)
    mean, std = _normalisation(folder, FAMILIES["clip"])
    return found, {"model_cfg": config, "preprocess_cfg": {"mean": mean, "std": std}}


def _clip_config(state: State, towers: dict[str, Tower], *, quick: bool) -> dict[str, Any]:
    """`model_cfg` of open_clip."""
    found = clip_config(
        state,
        quick_gelu=quick,
        vision_heads=towers["vision"].num_attention_heads or 12,
        text_heads=towers["text"].num_attention_heads or 8,
    )
    for part, prefix in (("vision_cfg", "visual."), ("text_cfg", "")):
        hidden = len(state[f"{prefix}transformer.resblocks.0.mlp.c_fc.weight"])
        found[part]["mlp_ratio"] = _ratio(hidden, found[part]["width"])
    return found


def _pack(state: State) -> None:
    """Join the projections of every attention, as PyTorch's own attention holds them."""
    for prefix in sorted({m[0] for n in state if (m := re.match(r".*\.attn\.(?=[qkv]\.)", n))}):
        fuse(state, prefix, "qkv", ("weight", "bias"), "in")
        for kind in ("weight", "bias"):
            state[f"{prefix}in_proj_{kind}"] = state.pop(f"{prefix}in.{kind}")


def _renamed(folder: Path, state: State, names: dict[str, str]) -> State:
    """Tensors under our names; a name that no pattern knows is refused."""
    found: State = {}
    for theirs, tensor in state.items():
        for pattern, ours in names.items():
            if match := re.fullmatch(pattern, theirs):
                if ours:
                    found[match.expand(ours)] = tensor
                break
        else:
            raise WeightsError(
                f"{folder}: the tensor {printable(theirs, 80)} has no place in a tower"
            )
    return found


def _tower(folder: Path, facts: dict[str, Any], family: Family) -> Tower:
    tower = checked(Tower, facts, f"{folder}: config.json", WeightsError)
    eps = family.eps if tower.layer_norm_eps is None else tower.layer_norm_eps
    if eps != family.eps:
        raise WeightsError(f"{folder}: config.json: layer_norm_eps is {eps}, not {family.eps}")
    return tower


def _normalisation(folder: Path, family: Family) -> tuple[Any, Any]:
    """Mean and standard deviation that images want."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return family.mean, family.std
    facts = schema.read_json(path, folder.name)
    found = checked(Preprocessor, facts, f"{folder}: {path.name}", WeightsError)
    return found.image_mean or family.mean, found.image_std or family.std


def _is_text(name: str) -> bool:
    return name.startswith(("text_model.", "logit_"))


def _stripped(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _has(state: State, layer: str) -> bool:
    return f"blocks.0.mlp.{layer}.weight" in state


def _ratio(hidden: int, width: int) -> float:
    """What timm and open_clip multiply a width by, and cut to a whole number."""
    return hidden / width if hidden % width == 0 else (hidden + 0.5) / width
