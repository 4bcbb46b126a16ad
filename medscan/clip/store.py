"""Finding backbones on this machine, and loading one. Nothing here uses the network.

A bundle is a folder in open_clip's `local-dir:` layout: `open_clip_config.json` (architecture,
activation, mean and std) and `open_clip_model.safetensors`; or, of a vision tower alone, in timm's:
`config.json` and `model.safetensors`. `medscan.json` beside them records where the weights came
from, their SHA-256 and their licence.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medscan.clip.config import (
    LARGEST_SIDE,
    Config,
    Origin,
    Preprocess,
    Trained,
    VisionConfig,
    read_config,
    read_json,
)
from medscan.errors import WeightsError

if TYPE_CHECKING:
    from medscan.clip.backbone import Backbone

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
VISION_CONFIG = "config.json"
VISION_WEIGHTS = "model.safetensors"
ORIGIN = "medscan.json"
DEFAULT = "medscan-mini"
TIMM = "timm:"
"""Before a name that timm gives to weights."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:/-]{0,99}")
CLIP = Preprocess()
"""Mean and standard deviation of CLIP's images, for configurations without them."""
ALONE = Trained()
"""The same of vision towers alone."""
UNKNOWN = "unknown"
"""Licence of weights that came without one."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A backbone on disk: a CLIP, or a vision tower alone."""

    name: str
    folder: Path
    weights: Path
    config: dict[str, Any]
    origin: dict[str, Any]

    @property
    def is_vision(self) -> bool:
        """Whether it is a vision tower alone."""
        return "architecture" in self.config

    @property
    def model(self) -> dict[str, Any]:
        """The part of the configuration that decides the model."""
        if not self.is_vision:
            return self.config["model_cfg"]  # type: ignore[no-any-return]
        input_size = self.preprocess.get("input_size")
        parts = ("architecture", "num_classes", "global_pool", "model_args")
        return {part: self.config.get(part) for part in parts} | {"input_size": input_size}

    @property
    def preprocess(self) -> dict[str, Any]:
        """The part of the configuration about images."""
        part = "pretrained_cfg" if self.is_vision else "preprocess_cfg"
        return self.config.get(part) or {}

    @property
    def licence(self) -> str:
        """Licence of the weights."""
        found = self.origin.get("licence")
        if found is None and self.is_vision:
            found = self.preprocess.get("license")
        return str(found or UNKNOWN)

    def digest(self) -> str:
        """SHA-256 over the weights and all that decides their output; detectors record it."""
        preprocess = self.preprocess
        facts = {
            "model": self.model,
            "mean": preprocess.get("mean"),
            "std": preprocess.get("std"),
            "weights": sha256(self.weights),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def home() -> Path:
    """Folder that `medscan weights` writes: $XDG_DATA_HOME/medscan/weights."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "medscan" / "weights"


def shipped() -> Path:
    """Folder of the weights that come with medscan: in the wheel, or of the checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "weights"
    return inside if inside.is_dir() else package.parent / "weights"


def folders() -> list[Path]:
    """Folders to search, in this order: $MEDSCAN_WEIGHTS, the user's, medscan's own."""
    extra = os.environ.get("MEDSCAN_WEIGHTS", "")
    return [*(Path(part) for part in extra.split(os.pathsep) if part), home(), shipped()]


def folder_name(name: str) -> str:
    """Folder of a backbone's name: `ViT-B-16/openai` is in `ViT-B-16--openai`."""
    return name.replace("/", "--")


def checked_folder_name(name: str) -> str:
    """`folder_name`, after checking that it cannot escape the folder of weights.

    Raises
    ------
    WeightsError
        If the name is empty, hidden, longer than 100 characters, or has others than letters, digits
        and `._+:/-`.
    """
    if not NAME.fullmatch(name) or ".." in name:
        raise WeightsError(f"{name!r} cannot name a backbone; give one like ARCHITECTURE/TAG")
    return folder_name(name)


def bundles() -> Iterator[Bundle]:
    """Yield every bundle in `folders()`; the first of a name hides later ones."""
    seen: set[str] = set()
    for folder in folders():
        if not folder.is_dir():
            continue
        for entry in sorted(folder.iterdir()):
            name = entry.name.replace("--", "/")
            if _is_bundle(entry) and name not in seen:
                seen.add(name)
                yield read_bundle(name, entry)


def _is_bundle(folder: Path) -> bool:
    return any((folder / file).is_file() for file in (CONFIG, VISION_CONFIG))


def read_bundle(name: str, folder: Path) -> Bundle:
    """Read a bundle's configuration; its weights are checked when they are loaded.

    Raises
    ------
    WeightsError
        If the folder is not a bundle, or holds only pickled weights.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir() raises for a name too long
        raise WeightsError(f"backbone {name}: no folder {folder}")
    vision = not (folder / CONFIG).is_file() and (folder / VISION_CONFIG).is_file()
    config_file = folder / (VISION_CONFIG if vision else CONFIG)
    if vision and is_transformers(read_json(config_file, name)):
        raise WeightsError(
            f"backbone {name}: {folder} is a folder of Hugging Face transformers; bring it in with "
            f"`medscan weights import {folder}`"
        )
    config = read_config(VisionConfig if vision else Config, config_file, name)
    origin_file = folder / ORIGIN
    origin = read_config(Origin, origin_file, name) if origin_file.is_file() else {}
    weights = folder / (VISION_WEIGHTS if vision else WEIGHTS)
    if not weights.is_file():
        raise WeightsError(
            f"backbone {name}: {folder} lacks {weights.name}; pickled weights are never read, "
            "convert them with `medscan weights import`"
        )
    return Bundle(name, folder, weights, config, origin)


def licence_of(name: str) -> str:
    """Licence of a backbone's weights; unknown where it is not on this machine."""
    try:
        return find(name).licence
    except WeightsError:
        return UNKNOWN


def is_transformers(config: Any) -> bool:
    """Whether a `config.json` is one of Hugging Face transformers rather than of timm."""
    return isinstance(config, dict) and "model_type" in config and "architecture" not in config


def find(name: str) -> Bundle:
    """Find the bundle of a backbone: `local-dir:/path`, a name in `folders()`, or a cached hub tag.

    Raises
    ------
    WeightsError
        If it is not on this machine; the message says how to get it.
    """
    if name.startswith("local-dir:"):
        path = os.path.expanduser(name.removeprefix("local-dir:"))  # noqa: PTH111 - never raises
        return read_bundle(name, Path(path))
    if NAME.fullmatch(name) and ".." not in name:
        for folder in folders():
            if _is_bundle(folder / folder_name(name)):
                return read_bundle(name, folder / folder_name(name))
    cached = _hub_cache(name)
    if cached is not None:
        return cached
    raise WeightsError(
        f"backbone {name} is not on this machine; fetch it with `medscan weights pull {name}`, or "
        "carry its file in and run `medscan weights import FILE`; `medscan weights list` shows "
        "what is here"
    )


def _hub_cache(name: str) -> Bundle | None:
    """Bundle that another program left in the Hugging Face cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    repository = hub_repository(name)
    if repository is None:
        return None
    vision = name.startswith(TIMM)
    files = (VISION_CONFIG, VISION_WEIGHTS) if vision else (CONFIG, WEIGHTS)
    try:
        paths = [try_to_load_from_cache(repository, file) for file in files]
    except HFValidationError:  # no repository can have this name
        return None
    if not all(isinstance(path, str) for path in paths):
        return None
    return read_bundle(name, Path(str(paths[0])).parent)


def hub_repository(name: str) -> str | None:
    """OWNER/NAME on the hub for `hf-hub:OWNER/NAME`, `timm:NAME` or ARCHITECTURE/TAG, or None.

    Raises
    ------
    WeightsError
        If the architecture's activation is not the one that the weights were trained with.
    """
    import open_clip

    model, _, tag = name.partition("/")
    if name.startswith("hf-hub:"):
        repository = name.removeprefix("hf-hub:")
    elif name.startswith(TIMM):
        known = timm_weights(name.removeprefix(TIMM))
        repository = str((known and known.hf_hub_id) or "")
    else:
        published = open_clip.get_pretrained_cfg(model, tag) if tag else {}
        repository = str(published.get("hf_hub", "")).rstrip("/")
        if published and bool(published.get("quick_gelu")) != name_says_quick_gelu(model):
            raise WeightsError(wrong_activation(name))
    return repository if repository.count("/") == 1 else None


def timm_weights(name: str) -> Any:
    """What timm knows of weights that it names; None if it does not know them."""
    import timm

    try:
        return timm.get_pretrained_cfg(name) if timm.is_model(name) and "." in name else None
    except RuntimeError:  # it knows the architecture, but no such weights of it
        return None


def name_says_quick_gelu(model: str) -> bool:
    """Whether open_clip builds the named architecture with QuickGELU."""
    import open_clip

    config = open_clip.get_model_config(model)
    return bool((config or {}).get("quick_gelu", False))


def wrong_activation(name: str) -> str:
    """Message for weights that would run with an activation they were not trained with."""
    model, _, tag = name.partition("/")
    other = (
        model.removesuffix("-quickgelu") if model.endswith("-quickgelu") else f"{model}-quickgelu"
    )
    return (
        f"backbone {name}: this name means another activation than these weights were trained "
        f"with; call it {other}/{tag}"
    )


def load(
    name: str,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    size: int | None = None,
    quick_gelu: bool | None = None,
    text_quick_gelu: bool | None = None,
    tiles: int | None = None,
) -> Backbone:
    """Load a backbone that is on this machine.

    Parameters
    ----------
    name : str
        See `find`.
    device : str
        A torch device.
    precision : {"fp32", "mixed", "bf16", "fp16"}
        Precision of weights and activations; "mixed" is fp32 but for `Backbone.mixed`.
    size : int, optional
        Input side in pixels; the positional embedding is resized (bicubic, antialiased,
        align_corners False). Default: the checkpoint's own.
    quick_gelu : bool, optional
        Overrides the activation; only for reproducing published procedures that ran with the
        wrong one.
    text_quick_gelu : bool, optional
        The same for the text tower alone.
    tiles : int, optional
        See `Backbone`.

    Raises
    ------
    WeightsError
        If the backbone is missing, damaged, pickled, or of another shape than its configuration
        declares; or if that many tiles make too large a square.
    """
    import torch

    from medscan.clip.backbone import Backbone
    from medscan.clip.build import build, set_text_activation, tokenizer

    bundle = find(name)
    expected = bundle.origin.get("quick_gelu")
    config = bundle.model
    if expected is not None and bool(config.get("quick_gelu")) != expected:
        raise WeightsError(
            f"backbone {name}: {bundle.folder / CONFIG} says quick_gelu="
            f"{bool(config.get('quick_gelu'))}, but the weights were trained with {expected}"
        )
    torch.backends.cudnn.allow_tf32 = False  # else fp32 would keep 10 bits in a GPU's convolutions
    model = build(bundle, precision, size, quick_gelu).to(device)
    if text_quick_gelu is not None:
        set_text_activation(model, quick=text_quick_gelu)
    preprocess, usual = bundle.preprocess, ALONE if bundle.is_vision else CLIP
    loaded = Backbone(
        model,
        tokenizer(bundle),
        name=name,
        digest=bundle.digest(),
        size=_side(model.visual.image_size),
        mean=preprocess.get("mean", usual.mean),
        std=preprocess.get("std", usual.std),
        licence=bundle.licence,
        tiles=tiles or 1,
        mixed=precision == "mixed",
    )
    if loaded.size > LARGEST_SIDE:
        raise WeightsError(
            f"backbone {name}: {tiles} tiles of {loaded.tile} pixels make a square of "
            f"{loaded.size}, and the most is {LARGEST_SIDE}; choose fewer, or a smaller size"
        )
    return loaded


def _side(size: int | tuple[int, int]) -> int:
    return size if isinstance(size, int) else int(size[0])
