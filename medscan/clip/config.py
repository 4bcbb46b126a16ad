"""The JSON files of a bundle: schema of the fields that medscan reads; open_clip checks the rest.

The values are checked but never converted, because the digest of a bundle covers them as written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medscan.errors import WeightsError
from medscan.schema import OPEN, Count, checked

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class TextTower:
    """`text_cfg`: the number of tokens that a prompt is cut or padded to."""

    __pydantic_config__ = OPEN

    context_length: Count = 77


@dataclass(frozen=True, slots=True)
class Model:
    """`model_cfg`: towers, activation, and whether the text tower is a separate module."""

    __pydantic_config__ = OPEN

    vision_cfg: dict[str, Any]
    text_cfg: TextTower
    quick_gelu: bool | None = None
    custom_text: bool | None = None


@dataclass(frozen=True, slots=True)
class Preprocess:
    """`preprocess_cfg`: mean and standard deviation of each channel of an image in [0, 1]."""

    __pydantic_config__ = OPEN

    mean: Triple = (0.48145466, 0.4578275, 0.40821073)
    std: Triple = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class Config:
    """`open_clip_config.json`."""

    __pydantic_config__ = OPEN

    model_cfg: Model
    preprocess_cfg: Preprocess = field(default_factory=Preprocess)


@dataclass(frozen=True, slots=True)
class Origin:
    """`medscan.json`: where the weights came from, and the activation they were trained with."""

    __pydantic_config__ = OPEN

    name: str | None = None
    source: str | None = None
    source_sha256: str | None = None
    sha256: str | None = None
    licence: str | None = None
    quick_gelu: bool | None = None


def read_config(kind: type[Config] | type[Origin], path: Path, name: str) -> dict[str, Any]:
    """Read and check a JSON file of the backbone `name`.

    Raises
    ------
    WeightsError
        If it cannot be read, or a field that medscan reads is missing or of another type.
    """
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"backbone {name}: {path} is not a JSON file ({error!r})") from error
    checked(kind, facts, f"backbone {name}: {path}", WeightsError)
    return facts
