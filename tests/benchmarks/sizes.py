"""Methods without sentences on backbones at several input sizes.

    python tests/benchmarks/sizes.py DATA ... --backbone medscan-mini timm:... --out cells.json

Fits on training patients with three seeds, and tests on the same slices of test patients, evenly
drawn from each label. Prints image and pixel AUROC, mean and standard deviation over the seeds.
Cells that the file has already are kept, so that it can be stopped at any moment.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from statistics import fmean, stdev

from medscan.fitting import FitOptions, fit
from medscan.shots import load_items, read_items
from tests.benchmarks.few_shot import measure

METHODS, SIZES, SEEDS = ("patchcore", "discriminant"), (224, 448), (0, 1, 2)


def some(items: list, count: int) -> list:
    """`count` items of each label, evenly drawn."""
    chosen = []
    for label in (0, 1):
        own = [item for item in items if item.label == label]
        chosen += own[:: max(1, len(own) // count)][:count]
    return chosen


def cell_of(data: Path, method: str, backbone: str, size: int, seed: int, args) -> list[float]:
    options = FitOptions(
        shots=args.shots,
        method=method,
        backbone=backbone,
        size=size,
        seed=seed,
        folds=4 if method == "discriminant" else 0,
    )
    _, fitted = fit(data, options)
    tested = some(read_items(data, "test"), args.tests)
    return list(measure(fitted, load_items(tested, size=size, window="auto", plane=None)))


def shown(values: list[float]) -> str:
    return f"{fmean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure backbones at several input sizes.")
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--backbone", nargs="+", default=["medscan-mini"])
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--tests", type=int, default=30)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    cells = json.loads(args.out.read_text()) if args.out.is_file() else {}
    grid = list(itertools.product(args.data, SIZES, METHODS, args.backbone))
    for (data, size, method, backbone), seed in itertools.product(grid, SEEDS):
        key = f"{data.name} {method} {backbone} {size} {seed}"
        if key not in cells:
            start = time.monotonic()
            cells[key] = cell_of(data, method, backbone, size, seed, args)
            args.out.write_text(json.dumps(cells))
            print(key, cells[key], f"{time.monotonic() - start:.0f} s", flush=True)
    print("| data | method | size | backbone | image AUROC | pixel AUROC |")
    print("| --- | --- | --- | --- | --- | --- |")
    for data, size, method, backbone in grid:
        found = [cells[f"{data.name} {method} {backbone} {size} {seed}"] for seed in SEEDS]
        image, pixel = ([figures[part] for figures in found] for part in (0, 1))
        row = (data.name, method, size, backbone, shown(image), shown(pixel))
        print("| " + " | ".join(map(str, row)) + " |")


if __name__ == "__main__":
    main()
