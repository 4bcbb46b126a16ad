"""Figures of medscan-mini compared with its teacher: the same methods on backbones of similar size.

    python tests/benchmarks/backbones.py --data DATA --teacher teacher.pt --out FOLDER

Compares a tower of random weights, DINOv2 ViT-S/14 and medscan-mini, all three with medscan-mini's
text tower, so that only the tokens differ. `teacher.pt` is a timm state dict, see
weights/README.md. Finished cells are in FOLDER; `--shard 1/2` measures a part of them.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import math
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor

from medscan import clip
from medscan.evaluate import read_suite, run_suite

SEED = 20261122
SIZE, PATCH = 224, 14
SUITE = Path(__file__).with_name("five_sets.toml")
SETS = ("brain_mri_lgg", "breast_us_busi", "chest_xray_nih")
METHODS = ("madclip", "patchcore")
RANDOM, TEACHER, MINI = "random", "teacher", "medscan-mini"


def teacher_tower(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """DINOv2's weights under open_clip's names; layer scale is folded into the layers before it."""
    renamed = {
        "class_embedding": state["cls_token"].flatten(),
        "conv1.weight": state["patch_embed.proj.weight"],
        "ln_post.weight": state["norm.weight"],
        "ln_post.bias": state["norm.bias"],
    }
    positions = resample_abs_pos_embed(state["pos_embed"], (SIZE // PATCH,) * 2)[0].clone()
    positions[1:] += state["patch_embed.proj.bias"]  # open_clip's patch convolution has no bias
    renamed["positional_embedding"] = positions
    for i in range(12):
        old, new = f"blocks.{i}.", f"transformer.resblocks.{i}."
        for part in ("weight", "bias"):
            renamed[f"{new}ln_1.{part}"] = state[f"{old}norm1.{part}"]
            renamed[f"{new}ln_2.{part}"] = state[f"{old}norm2.{part}"]
            renamed[f"{new}attn.in_proj_{part}"] = state[f"{old}attn.qkv.{part}"]
            renamed[f"{new}mlp.c_fc.{part}"] = state[f"{old}mlp.fc1.{part}"]
        for layer, name, scale in (
            ("attn.proj", "attn.out_proj", "ls1"),
            ("mlp.fc2", "mlp.c_proj", "ls2"),
        ):
            gamma = state[f"{old}{scale}.gamma"]
            renamed[f"{new}{name}.weight"] = state[f"{old}{layer}.weight"] * gamma[:, None]
            renamed[f"{new}{name}.bias"] = state[f"{old}{layer}.bias"] * gamma
    return {f"visual.{name}": tensor for name, tensor in renamed.items()}


def write_bundle(folder: Path, config: dict[str, Any], state: dict[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / clip.store.CONFIG).write_text(json.dumps(config))
    save_file({k: v.contiguous() for k, v in state.items()}, folder / clip.store.WEIGHTS)


def make_rivals(teacher: Path, out: Path) -> None:
    """Write bundles `random` and `teacher` into `out`, with the text tower of medscan-mini."""
    mini = clip.find(MINI)
    own = load_file(mini.weights)
    text = {k: v.float() for k, v in own.items() if not k.startswith("visual.")}
    torch.manual_seed(SEED)
    fresh = open_clip.CLIP(**mini.config["model_cfg"]).state_dict()
    tower = {k: v for k, v in fresh.items() if k.startswith("visual.")}
    write_bundle(out / RANDOM, mini.config, tower | text)
    config = copy.deepcopy(mini.config)
    config["model_cfg"]["vision_cfg"] |= {
        "width": 384,
        "patch_size": PATCH,
        "image_size": SIZE,
        "norm_kwargs": {"eps": 1e-6},
    }
    tower = teacher_tower(torch.load(teacher, weights_only=True))
    tower["visual.proj"] = torch.randn(384, config["model_cfg"]["embed_dim"]) / math.sqrt(384)
    write_bundle(out / TEACHER, config, tower | text)


def figures(records: list[dict[str, Any]], data: str, method: str, part: str) -> list[float]:
    """AUROC of every seed."""
    seeds = (
        r for r in records if (r["cell"]["data"]["name"], r["cell"]["method"]) == (data, method)
    )
    return [r[part]["auroc"]["value"] for r in seeds if r[part]]


def cell(values: list[float]) -> str:
    spread = stdev(values) if len(values) > 1 else 0.0
    return f"{fmean(values):.3f} ± {spread:.3f}" if values else "none"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare backbones of like size.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shard", default="1/1")
    args = parser.parse_args()
    if not (args.out / TEACHER / clip.store.WEIGHTS).is_file():
        make_rivals(args.teacher, args.out)
    suite = read_suite(SUITE, args.data)
    chosen = tuple(d for d in suite.data if d.name in SETS)
    suite = dataclasses.replace(suite, data=chosen, methods=METHODS, shots=(16,))
    part, parts = (int(n) for n in args.shard.split("/"))
    records = {}
    for name in (RANDOM, TEACHER, MINI):
        backbone = MINI if name == MINI else f"local-dir:{(args.out / name).resolve()}"
        on_backbone = dataclasses.replace(suite, backbone=backbone)
        records[name] = []
        for record in run_suite(on_backbone, args.out / f"cells-{name}", shard=(part, parts)):
            records[name].append(record)
            print(
                name,
                record["cell"]["data"]["name"],
                record["cell"]["method"],
                record["cell"]["seed"],
                round(record["slices"]["auroc"]["value"], 4),
                flush=True,
            )
    if parts == 1:
        print_table(records, chosen)


def print_table(records: dict[str, list[dict[str, Any]]], data: tuple[Any, ...]) -> None:
    columns = [(d.name, m, p) for d in data for m in METHODS for p in ("slices", "pixels")]
    columns = [c for c in columns if figures(records[MINI], *c)]
    print("| backbone | " + " | ".join(" ".join(c) for c in columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for name, cells in records.items():
        print(f"| {name} | " + " | ".join(cell(figures(cells, *c)) for c in columns) + " |")
    trivial = {d.name: d.trivial for d in data}
    print(
        "| trivial feature | "
        + " | ".join(f"{trivial[c[0]]}" if c[2] == "slices" else "none" for c in columns)
        + " |"
    )
    for method in METHODS:
        for part in ("slices", "pixels"):
            print_closed(records, [c for c in columns if c[1:] == (method, part)])


def print_closed(records: dict[str, list[dict[str, Any]]], columns: list[Any]) -> None:
    """Print how much of the gap between random and teacher medscan-mini closes, over all sets."""
    low, high, own = (
        fmean(fmean(figures(records[name], *c)) for c in columns)
        for name in (RANDOM, TEACHER, MINI)
    )
    print(
        f"{columns[0][1]}, {columns[0][2]}: random {low:.3f}, teacher {high:.3f}, medscan-mini "
        f"{own:.3f}: {100 * (own - low) / (high - low):.0f} % of the gap"
    )


if __name__ == "__main__":
    main()
