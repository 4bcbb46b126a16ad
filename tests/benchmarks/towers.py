"""Every vision transformer of open_clip's registry, and others of timm, as backbones.

    python tests/benchmarks/towers.py --out tests/benchmarks/towers.md [NAME ...]

Each is built small with random weights: two blocks deep and 128 features wide, with the patches,
tokens, positions, blocks and heads that it has. It is loaded as a user's, at 4 x 4 patches; its
tokens and sentence features are compared with the library's own to 1e-5; patchcore, discriminant
and, where there are sentences that medscan can encode, madclip are fitted on it and scan a small
archive; of configurations that differ only in depth, width, input size or words, and so are alike
here, the first. What cannot be done says why in one line. Rows that the file has already are kept,
so that it can be stopped at any moment.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from safetensors.torch import save_file

import medscan
from medscan import clip
from medscan.backbones import check_backbone
from medscan.clip import Need, config
from medscan.clip.build import VisionOnly, _model
from medscan.clip.towers import tower_of
from medscan.detector import Domain
from medscan.errors import MedscanError
from medscan.fitting import FitOptions, fit
from tests import tiny

DEPTH, WIDTH, HEADS, GRID, WORDS = 2, 128, 2, 4, 49408
TOWER = {"device": "cpu", "precision": "fp32", "quick_gelu": None, "text_quick_gelu": None}
"""As fits and scans load it, so that it is loaded once."""
TIMM = (
    "vit_small_patch14_dinov2.lvd142m",
    "vit_base_patch14_reg4_dinov2.lvd142m",
    "vit_small_patch16_dinov3.lvd1689m",
    "vit_small_plus_patch16_dinov3_qkvb.lvd1689m",
    "vit_base_patch16_dinov3.lvd1689m",
    "vit_small_patch16_224.dino",
    "eva02_base_patch14_448.mim_in22k_ft_in22k_in1k",
    "eva_large_patch14_196.in22k_ft_in22k_in1k",
    "vit_base_patch16_siglip_224.v2_webli",
    "vit_so400m_patch16_siglip_384.v2_webli",
    "vit_pe_core_base_patch16_224.fb",
    "vit_pe_core_gigantic_patch14_448.fb",
    "vit_pe_spatial_base_patch16_512.fb",
    "vit_pe_lang_large_patch14_448.fb",
    "vit_base_patch14_reg1_tipsv2.webli",
    "vit_base_patch16_224.augreg_in21k",
    "vit_base_patch16_224.mae",
    "deit3_base_patch16_224.fb_in1k",
    "deit_base_distilled_patch16_224.fb_in1k",
    "beitv2_base_patch16_224.in1k_ft_in22k_in1k",
    "beit_base_patch16_224.in22k_ft_in22k_in1k",
    "vit_base_patch16_clip_quickgelu_224.openai",
    "vit_base_patch16_rope_mixed_224.naver_in1k",
    "vit_base_patch16_radio_v3.c_radio",
    "flexivit_base.1200ep_in1k",
    "vit_relpos_base_patch16_224.sw_in1k",
    "samvit_base_patch16.sa1b",
    "naflexvit_base_patch16_gap.e300_s576_in1k",
    "hiera_base_224.mae",
    "convnext_small.dinov3_lvd1689m",
)
METHODS = ("patchcore", "discriminant", "madclip")
SEQUENCES = {"patchcore": "FLAIR", "discriminant": "T1", "madclip": "T2"}
"""What the detector of each method is for."""


@dataclass
class Row:
    """What was seen of one tower."""

    name: str
    kind: str = ""
    tokens: str = ""
    methods: dict[str, str] = field(default_factory=dict)
    why: str = ""

    def line(self) -> str:
        cells = [self.name, self.kind, self.tokens, *(self.methods.get(m, "") for m in METHODS)]
        return "| " + " | ".join([*cells, self.why.replace("|", "/")]) + " |"


HEAD = [
    "Made by `tests/benchmarks/towers.py`. Each tower is two blocks deep and 128 features wide,",
    "with random weights, at 4 x 4 patches: the table says what runs, and nothing of how well.",
    "",
    "| tower | made of | tokens as the library's | " + " | ".join(METHODS) + " | why not |",
    "| --- " * (4 + len(METHODS)) + "|",
]


@contextmanager
def shallow() -> Iterator[None]:
    """Have timm build its transformers small, for open_clip and medscan alike."""
    whole: Callable[..., Any] = timm.create_model

    def create(name: str, **arguments: Any) -> Any:
        narrow = {"embed_dim": WIDTH, "num_heads": HEADS}
        for less in ({"depth": DEPTH} | narrow, {"depth": DEPTH}):
            try:
                return whole(name, **less | arguments)
            except (TypeError, ValueError, AssertionError):  # it has no one depth, or no one width
                continue
        return whole(name, **arguments)

    timm.create_model = create
    try:
        yield
    finally:
        timm.create_model = whole


def small(facts: dict[str, Any]) -> dict[str, Any]:
    """A configuration of open_clip with few and narrow blocks, and no more words than CLIP has."""
    facts = json.loads(json.dumps(facts))
    vision, text = facts["vision_cfg"], facts["text_cfg"]
    if isinstance(vision.get("layers"), int):
        vision |= {"layers": DEPTH, "width": WIDTH, "head_width": WIDTH // HEADS}
    text |= {"layers": 2, "width": WIDTH, "heads": HEADS}
    facts["embed_dim"] = WIDTH
    if "vocab_size" in text:
        text["vocab_size"] = min(WORDS, text["vocab_size"])
    return facts


def randomised(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Its weights, none of them left at 0 or 1."""
    generator = torch.Generator().manual_seed(0)
    state = model.state_dict()
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor += 0.02 * torch.randn(tensor.shape, generator=generator)
    return {name: tensor.contiguous() for name, tensor in state.items()}


def make_open_clip(name: str, folder: Path) -> Any:
    """Write a bundle, unless it could not be one; return what the library makes of it."""
    facts = {"model_cfg": small(open_clip.get_model_config(name)), "preprocess_cfg": {}}
    (folder / clip.store.CONFIG).write_text(json.dumps(facts))
    config.read_config(config.Config, folder / clip.store.CONFIG, name)
    with torch.device("meta"):
        tower_of(_model(facts["model_cfg"]).visual, name)
    model = _model(facts["model_cfg"])
    save_file(randomised(model), folder / clip.store.WEIGHTS)
    return model


def make_timm(name: str, folder: Path) -> Any:
    """Write a bundle in timm's layout, unless it could not be one; return it as a model."""
    known = timm.get_pretrained_cfg(name)
    architecture = name.partition(".")[0]
    facts = {
        "architecture": architecture,
        "num_classes": known.num_classes,
        "pretrained_cfg": {"input_size": list(known.input_size)},
    }
    with torch.device("meta"):
        tower_of(VisionOnly(timm.create_model(architecture, num_classes=0)).visual, name)
    model = timm.create_model(
        architecture, num_classes=known.num_classes, img_size=known.input_size[-1]
    )
    (folder / clip.store.VISION_CONFIG).write_text(json.dumps(facts))
    save_file(randomised(model), folder / clip.store.VISION_WEIGHTS)
    return VisionOnly(model)


def patch_of(visual: Any) -> int:
    """Side of a patch in pixels."""
    stem = getattr(getattr(visual, "trunk", None), "patch_embed", None)
    return visual.patch_size[0] if stem is None else stem.feat_ratio()


@contextmanager
def loaded_once() -> Iterator[None]:
    """Load a backbone once for all methods, to fit and to scan."""
    whole, loaded = clip.load, {}

    def load(name: str, **arguments: Any) -> clip.Backbone:
        key = (name, *sorted(arguments.items()))
        if key not in loaded:
            loaded.clear()
            loaded[key] = whole(name, **arguments)
        loaded[key].between_blocks = lambda: None
        return loaded[key]

    clip.load = load
    try:
        yield
    finally:
        clip.load = whole


def same_sentences(backbone: clip.Backbone, model: Any) -> bool:
    """Whether features of sentences are the library's."""
    sentences = ["a photo of a brain.", "healthy"]
    with torch.inference_mode():
        found = backbone.encode_text(backbone.prompts(sentences))
        wanted = model.eval().encode_text(backbone.tokenizer(sentences))
    return bool((found - wanted).abs().max() <= 1e-5 * wanted.abs().max().clamp_min(1))


SEEN: dict[str, str] = {}
"""Name of the first tower of a kind."""


def kind_of(model: torch.nn.Module) -> str:
    """What is left of a configuration in a small model: parts, their shapes but for positions."""
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if "pos" not in name and "rel_" not in name and "token_embedding" not in name
    }
    settings = [str(part) for part in model.modules() if not any(part.children())]
    return hashlib.sha256(json.dumps([shapes, settings]).encode()).hexdigest()


def try_tower(name: str, work: Path, data: Path, archive: Path) -> Row:
    """Load, compare, fit and scan."""
    row = Row(name)
    of_timm = "." in name
    folder = work / "bundle"
    folder.mkdir()
    try:
        model = make_timm(name, folder) if of_timm else make_open_clip(name, folder)
        bundle = f"local-dir:{folder}"
        size = GRID * patch_of(model.visual)
        backbone = clip.load(bundle, **TOWER, size=size)
        row.kind = type(getattr(backbone.model.visual, "trunk", backbone.model.visual)).__name__
        row.tokens = check_backbone(backbone).rpartition(" to ")[2]
        if why := backbone.lacks(Need.SENTENCES):
            row.why = f"it {why}"
        elif not same_sentences(backbone, model):
            row.why = "SENTENCES DIFFER"
        wanted = METHODS[: 2 if row.why else 3]
        first = SEEN.setdefault(kind_of(model), name)
        if first != name:
            row.methods = dict.fromkeys(wanted, f"as {first}")
        else:
            row.methods = fit_and_scan(wanted, bundle, size, work, data, archive)
    except MedscanError as error:
        row.why = str(error).replace(str(folder), "FOLDER").replace(f"backbone {name}: ", "")
    return row


def fit_and_scan(
    methods: tuple[str, ...], bundle: str, size: int, work: Path, data: Path, archive: Path
) -> dict[str, str]:
    """Fit a detector by each method, and scan a study for each; "yes" where that was scored."""
    paths = []
    for method in methods:
        learns = {"epochs": 1} if method == "madclip" else {}
        options = FitOptions(
            shots=2,
            method=method,
            backbone=bundle,
            size=size,
            domain=Domain("MR", "BRAIN", SEQUENCES[method], "axial"),
            folds=0,
            settings=learns,
        )
        detector, fitted = fit(data, options)
        paths.append(work / f"{method}.safetensors")
        detector.save(paths[-1], fitted)
    medscan.scan(
        archive,
        work / "r.h5",
        detector=paths,
        device="cpu",
        batch_size=4,
        workers=0,
        runtime="torch",
    )
    stacks = [stack for study in medscan.open_results(work / "r.h5") for stack in study.series]
    scored = {stack.detector for stack in stacks if math.isfinite(stack.score)}
    return {method: "yes" if method in scored else "NO SCORE" for method in methods}


def make_archive(folder: Path) -> Path:
    """A study for the detector of each method."""
    for number, sequence in enumerate(SEQUENCES.values()):
        volume = tiny.head_volume(number, slices=3)
        tiny.write_series(folder / sequence, volume, description=f"AX {sequence}")
    return folder


def kept(out: Path) -> list[str]:
    """Rows of an earlier run."""
    return out.read_text().splitlines()[len(HEAD) :] if out.is_file() else []


def names() -> list[str]:
    return [*open_clip.list_models(), *TIMM]


def main() -> None:
    parser = argparse.ArgumentParser(description="Try every tower as a backbone.")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = {line.split(" | ")[0][2:]: line for line in kept(args.out)}
    chosen = [name for name in args.names or names() if name not in rows]
    with tempfile.TemporaryDirectory() as folder, shallow():
        data = tiny.write_pictures(Path(folder) / "data", patients=2)
        archive = make_archive(Path(folder) / "archive")
        for name in chosen:
            start = time.monotonic()
            with tempfile.TemporaryDirectory(dir=folder) as work, loaded_once():
                rows[name] = try_tower(name, Path(work), data, archive).line()
            print(rows[name], f"{time.monotonic() - start:.1f} s", flush=True)
            ordered = [rows[name] for name in names() if name in rows]
            args.out.write_text("\n".join([*HEAD, *ordered]) + "\n")


if __name__ == "__main__":
    main()
