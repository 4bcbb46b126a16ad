"""Methods without sentences on backbones, at several input sizes and in tiles.

    python tests/benchmarks/sizes.py DATA ... --backbone medscan-mini timm:... --out cells.json

A view is a side in pixels, or one with tiles: 224x2 are 2 tiles of 224 pixels along a side. Fits on
training patients with three seeds, and tests on the same slices of test patients, evenly drawn from
each label. Prints image and pixel AUROC, mean and standard deviation over the seeds. Cells that the
file has already are kept, so that it can be stopped at any moment.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev

import torch

from medscan.fitting import FitOptions, fit
from medscan.shots import Shots, load_items, read_items
from tests.benchmarks.few_shot import aurocs

METHODS = ("patchcore", "discriminant")


def some(items: list, count: int) -> list:
    """`count` items of each label, evenly drawn."""
    chosen = []
    for label in (0, 1):
        own = [item for item in items if item.label == label]
        chosen += own[:: max(1, len(own) // count)][:count]
    return chosen


def view_of(text: str) -> tuple[int, int]:
    side, _, tiles = text.partition("x")
    return int(side), int(tiles or 1)


class Tests:
    """Test images, and what a method made of them before anything it had learnt; only of one."""

    def __init__(self, args) -> None:
        self.args, self.key = args, ""

    def measure(self, data: Path, fitted) -> tuple[float, float]:
        """Image and pixel AUROC of a fitted method."""
        backbone = fitted.backbone
        key = repr((data, fitted.name, backbone.name, asdict(fitted.settings)))
        if key != self.key:
            items = some(read_items(data, self.args.split), self.args.tests)
            self.shots: Shots = load_items(items, size=backbone.size, window="auto", plane=None)
            with torch.inference_mode():
                self.prepared = [fitted.prepare(p) for p in torch.split(self.shots.images, 8)]
            self.key = key
        with torch.inference_mode():
            scores, maps = zip(*(fitted.score(fitted(p)) for p in self.prepared), strict=True)
        return aurocs(torch.cat(scores), torch.cat(maps), self.shots)


def cell_of(data: Path, method: str, backbone: str, view: str, seed: int, tests: Tests):
    size, tiles = view_of(view)
    options = FitOptions(
        shots=tests.args.shots,
        method=method,
        backbone=backbone,
        size=size,
        tiles=tiles,
        seed=seed,
        folds=4 if method == "discriminant" else 0,
    )
    _, fitted = fit(data, options)
    return tests.measure(data, fitted)


def shown(values: list[float]) -> str:
    if any(value != value for value in values):
        return ""
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure backbones at several input sizes.")
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--backbone", nargs="+", default=["medscan-mini"])
    parser.add_argument("--views", nargs="+", default=["224", "448"])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--tests", type=int, default=30)
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    cells = json.loads(args.out.read_text()) if args.out.is_file() else {}
    tests = Tests(args)
    grid = list(itertools.product(args.data, args.views, args.methods, args.backbone))
    for (data, view, method, backbone), seed in itertools.product(grid, args.seeds):
        key = f"{data.name} {method} {backbone} {view} {seed}"
        if key not in cells:
            start = time.monotonic()
            cells[key] = cell_of(data, method, backbone, view, seed, tests)
            args.out.write_text(json.dumps(cells))
            print(key, cells[key], f"{time.monotonic() - start:.0f} s", flush=True)
    print("| data | method | view | backbone | image AUROC | pixel AUROC |")
    print("| --- | --- | --- | --- | --- | --- |")
    for data, view, method, backbone in grid:
        found = [cells[f"{data.name} {method} {backbone} {view} {seed}"] for seed in args.seeds]
        image, pixel = ([figures[part] for figures in found] for part in (0, 1))
        row = (data.name, method, view, backbone, shown(image), shown(pixel))
        print("| " + " | ".join(map(str, row)) + " |")


if __name__ == "__main__":
    main()
