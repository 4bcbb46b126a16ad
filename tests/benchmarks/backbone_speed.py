"""Speed of a backbone in slices a second, compared with ViT-B-16 of random weights in one run.

    python tests/benchmarks/backbone_speed.py [--backbone medscan-mini] [--threads 2] [--batch 16]

fp32; the two alternate, and each one's best turn counts. "With taps", medscan reads
tokens after four blocks, as methods need; `encode_image` is open_clip's own function.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import open_clip
import torch

from medscan import clip


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description="Time a backbone against ViT-B-16.")
    parser.add_argument("--backbone", default=clip.DEFAULT)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16, help="images")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    backbone = clip.load(args.backbone)
    large = open_clip.create_model("ViT-B-16").eval()
    images = torch.randn(args.batch, 3, backbone.size, backbone.size)
    large_images = torch.randn(args.batch, 3, 224, 224)
    runs: dict[str, Callable[[], object]] = {
        f"{args.backbone} with taps": lambda: backbone.features(images, backbone.taps()),
        f"{args.backbone}, encode_image": lambda: backbone.model.encode_image(images),
        "ViT-B-16, encode_image": lambda: large.encode_image(large_images),
    }
    best = dict.fromkeys(runs, float("inf"))
    with torch.inference_mode():
        for _ in range(args.turns):
            for name, run in runs.items():
                best[name] = min(best[name], seconds(run))
    slowest = best["ViT-B-16, encode_image"]
    for name, spent in best.items():
        print(f"{name}: {args.batch / spent:.1f} slices/s, {slowest / spent:.2f} times ViT-B-16")


if __name__ == "__main__":
    main()
