"""Cost of taps, heads and batches, as ratios to open_clip's `encode_image` in the same run.

    python tests/benchmarks/model_speed.py [--backbone medscan-mini] [--threads 1] [--batch 8]
        [--precision fp32] [--turns 5] [--lanes 2]

`--backbone` is a name for `medscan.clip.find`, or an architecture of open_clip such as ViT-B-16,
which then has random weights. Runs alternate, and each one's best turn counts; with one thread the
times are CPU seconds, on which other load of the machine has little effect. `encode_image` is that
of an unchanged open_clip model with the same weights and precision.

The loop follows MVFA's and MadCLIP's test scripts, newly written: images are processed one by one;
attention returns its weights, so that every block computes them for all pairs of tokens; the
tower's last norm and projection compute an unused embedding; adapters of both branches run at every
tap; at each level the patch logits are upsampled to full size, then softmax; MVFA's bank is
normalised for every image and level, and distances to it are upsampled too; maps go to NumPy, where
levels are summed. Sentences are encoded once, before the loop. The loop uses the same tensors as
medscan, and its maps must equal those of `Method.published`.

Lanes are how a scan uses a CPU's cores: one thread per core, whose operations have one thread.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from medscan import clip
from medscan.errors import WeightsError
from medscan.methods import Method, build, settings_of

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LIKE_THE_AUTHORS = {"align_corners": True, "image_score": "max"}


@contextmanager
def folder_of(name: str) -> Iterator[Path]:
    """A bundle of that name, or of the architecture with random weights."""
    try:
        yield clip.find(name).folder
    except WeightsError:
        with tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(0)
            model = open_clip.create_model(name)
            config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}
            (Path(folder) / "open_clip_config.json").write_text(json.dumps(config))
            state = {k: v.contiguous() for k, v in model.state_dict().items()}
            save_file(state, Path(folder) / "open_clip_model.safetensors")
            yield Path(folder)


def method_of(name: str, backbone: clip.Backbone, **settings: object) -> Method:
    """A method with fresh parameters, and a full memory where it has one."""
    torch.manual_seed(0)
    method = build(name, backbone, "Brain", settings_of(name, **settings), masked=True)
    method = method.eval().requires_grad_(False)
    with torch.inference_mode():
        shots = torch.rand(8, 3, backbone.size, backbone.size)
        method.remember([method.prepare(shots)], torch.arange(len(shots)))
    return method


# --- the authors' loop --------------------------------------------------------------------------


def tower(plain: Any, image: torch.Tensor, taps: tuple[int, ...], adapt: Callable) -> None:
    """One image through open_clip's blocks, attention weights and all; `adapt` at each tap."""
    tokens = plain.visual._embeds(image)
    for number, block in enumerate(plain.visual.transformer.resblocks, 1):
        seen = block.ln_1(tokens)
        attended, _weights = block.attn(seen, seen, seen, need_weights=True)
        tokens = tokens + attended
        tokens = tokens + block.mlp(block.ln_2(tokens))
        if number in taps:
            tokens = adapt(taps.index(number), tokens)
    _embedding = plain.visual.ln_post(tokens[:, 0]) @ plain.visual.proj


def drawn(patches: torch.Tensor, size: int) -> torch.Tensor:
    """(1, N, C) at full size, (1, C, size, size)."""
    side = round(patches.shape[1] ** 0.5)
    grid = patches.mT.reshape(1, -1, side, side)
    return F.interpolate(grid, size, mode="bilinear", align_corners=True)


def unit(features: torch.Tensor) -> torch.Tensor:
    return features / features.norm(dim=-1, keepdim=True)


def mvfa(plain: Any, method: Any, image: torch.Tensor) -> list[np.ndarray]:
    """Text and memory map of one image (1, 3, S, S), normalised."""
    texts, memories = [], []
    bank, size = method.banks["seg"].rows, image.shape[-1]

    def adapt(level: int, tokens: torch.Tensor) -> torch.Tensor:
        wide, change = tokens.float(), 0
        for kind in ("seg", "det"):
            adapter = getattr(method, kind)[level]
            aligned = F.leaky_relu(F.linear(wide, adapter.down.weight), 0.01)
            change = change + F.leaky_relu(F.linear(aligned, adapter.up.weight), 0.01)
            logits = 100 * unit(aligned[:, 1:]) @ method.text.mT
            if kind == "det":
                logits.softmax(-1)[..., 1].mean()  # worked out, and unused where there are masks
                continue
            texts.append(drawn(logits, size).softmax(1)[:, 1].numpy())
            cosines = unit(bank[level]) @ unit(aligned[0, 1:]).mT
            memories.append(drawn((1 - cosines).amin(0)[None, :, None], size)[:, 0].numpy())
        return (0.8 * wide + 0.1 * change).to(tokens.dtype)

    tower(plain, image, method.taps, adapt)
    return [np.sum(texts, 0), np.sum(memories, 0)]


def madclip(plain: Any, method: Any, image: torch.Tensor) -> list[np.ndarray]:
    """Map of one image (1, 3, S, S), normalised."""
    maps = []
    away = method.text[1] - method.text[0]

    def adapt(level: int, tokens: torch.Tensor) -> torch.Tensor:
        adapter, wide = method.adapters[level], tokens[:, 1:].float()
        for kind in (0, 1):  # det, worked out and unused where there are masks; seg
            pair = []
            for branch, sign in ((0, -1), (1, 1)):
                stage = adapter.shared.weight.chunk(2)[branch]
                hidden = F.leaky_relu(F.linear(wide, stage), 0.01)
                head = adapter.heads[branch].weight.chunk(2)[kind]
                hidden = F.layer_norm(hidden, hidden.shape[-1:])
                features = F.leaky_relu(F.linear(hidden, head), 0.01)
                pair.append(sign * unit(features) @ away)
            logits = torch.stack(pair, -1)
            if kind == 1:
                maps.append(drawn(logits, image.shape[-1]).softmax(1)[:, 1].numpy())
        return tokens

    tower(plain, image, method.taps, adapt)
    return [np.sum(maps, 0)]


def loop(one: Callable, plain: Any, method: Method, images: torch.Tensor) -> list[np.ndarray]:
    """Process images one by one: maps (B, S, S) of each branch."""
    branches = []
    for image in images:
        ready = method.input(image[None]).to(method.backbone.dtype)
        branches.append(one(plain, method, ready))
    return [np.concatenate(maps) for maps in zip(*branches, strict=True)]


def check(one: Callable, plain: Any, method: Method, images: torch.Tensor, worst: float) -> None:
    """Check that the loop's maps equal medscan's."""
    ours = method.published(method(method.prepare(images)), images.shape[-1]).maps
    for theirs, expected in zip(loop(one, plain, method, images), ours, strict=True):
        difference = float(np.abs(theirs - expected.float().numpy()).max())
        assert difference < worst, f"{method.name}: maps differ by {difference:.1e}"


# --- timing -------------------------------------------------------------------------------------


def best(runs: dict[str, Callable[[], object]], turns: int, *, lone: bool) -> dict[str, float]:
    """Seconds of each run's best turn; with `lone`, CPU seconds of the only thread."""
    clock = time.thread_time if lone else time.perf_counter
    seconds = dict.fromkeys(runs, float("inf"))
    for _ in range(turns):
        for name, run in runs.items():
            start = clock()
            run()
            seconds[name] = min(seconds[name], clock() - start)
    return seconds


def in_lanes(lanes: int, run: Callable[[], object]) -> Callable[[], object]:
    """Call `run` `lanes` times in parallel, each in a thread whose operations have one thread."""
    pool = ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(1,))

    def together() -> None:
        for future in [pool.submit(run) for _ in range(lanes)]:
            future.result()

    return together


def against_encode_image(plain: Any, backbone: clip.Backbone, args: argparse.Namespace) -> None:
    images = torch.rand(args.batch, 3, backbone.size, backbone.size)
    methods = {name: method_of(name, backbone) for name in args.methods.split(",")}
    ready = backbone.normalise(images).to(backbone.dtype)
    runs: dict[str, Callable[[], object]] = {
        "encode_image": lambda: plain.encode_image(ready),
        "backbone with taps": lambda: backbone.features(ready, backbone.taps()),
        "backbone, encode_image": lambda: backbone.features(ready, pooled=True),
    }
    runs |= {name: partial(method.predict, images) for name, method in methods.items()}
    spent = best(runs, args.turns, lone=args.threads == 1)
    for name, seconds in spent.items():
        ratio = seconds / spent["encode_image"]
        print(f"{name}: {args.batch / seconds:.1f} slices/s, {ratio:.2f} of encode_image's time")


def against_the_loop(plain: Any, backbone: clip.Backbone, args: argparse.Namespace) -> None:
    images = torch.rand(args.batch, 3, backbone.size, backbone.size)
    for one in (mvfa, madclip):
        extra = {"fusion": "none"} if one is mvfa else {}
        method = method_of(one.__name__, backbone, **LIKE_THE_AUTHORS, **extra)
        check(one, plain, method, images, 1e-3 if args.precision == "fp32" else 0.5)
        runs = {"loop": partial(loop, one, plain, method, images)}
        runs["medscan"] = partial(method.predict, images)
        spent = best(runs, args.turns, lone=args.threads == 1)
        print(f"{one.__name__}: {spent['loop'] / spent['medscan']:.2f} times the authors' loop")


def against_more_threads(backbone: clip.Backbone, args: argparse.Namespace) -> None:
    images = torch.rand(args.batch, 3, backbone.size, backbone.size)
    method = method_of("madclip", backbone)

    def wide() -> None:
        torch.set_num_threads(args.lanes)
        for _ in range(args.lanes):
            method.predict(images)
        torch.set_num_threads(1)

    together = in_lanes(args.lanes, partial(method.predict, images))
    spent = best({"threads": wide, "lanes": together}, args.turns, lone=False)
    count = args.lanes * args.batch
    print(
        f"madclip in {args.lanes} lanes: {count / spent['lanes']:.1f} slices/s, "
        f"{spent['threads'] / spent['lanes']:.2f} times {args.lanes} threads in each operation "
        f"({count / spent['threads']:.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Time medscan beside encode_image and a loop.")
    parser.add_argument("--backbone", default=clip.DEFAULT)
    parser.add_argument("--methods", default="madclip,mvfa")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", choices=DTYPES, default="fp32")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--lanes", type=int, default=2, help="0 leaves lanes out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with folder_of(args.backbone) as folder, torch.inference_mode():
        plain = open_clip.create_model(f"local-dir:{folder}").to(DTYPES[args.precision]).eval()
        backbone = clip.load(f"local-dir:{folder}", precision=args.precision)
        print(f"{args.backbone}, {args.precision}, {args.threads} threads, batches of {args.batch}")
        against_encode_image(plain, backbone, args)
        against_the_loop(plain, backbone, args)
        if args.lanes:
            against_more_threads(backbone, args)


if __name__ == "__main__":
    main()
