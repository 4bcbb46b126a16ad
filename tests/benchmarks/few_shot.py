"""Few-shot figures of a method on data with cases.csv: fit on training patients, test on others.

    python tests/benchmarks/few_shot.py DATA --organ Brain --shots 16 --seeds 0 1 2

DATA has normal/, abnormal/, masks/ and a cases.csv with a column split or split_hint. Prints image
and pixel AUROC of each seed, their mean and standard deviation. Pixel AUROC pools the pixels of all
test images that are normal or have a mask, on the model's square.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

from medscan.choices import Plane
from medscan.detector import Domain
from medscan.fitting import FitOptions, fit
from medscan.methods import Method
from medscan.shots import load_items, read_items


def measure(method: Method, shots) -> tuple[float, float]:
    """Image and pixel AUROC."""
    scored = [method.predict(part) for part in torch.split(shots.images, 8)]
    return aurocs(torch.cat([s for s, _ in scored]), torch.cat([m for _, m in scored]), shots)


def aurocs(scores: torch.Tensor, maps: torch.Tensor, shots) -> tuple[float, float]:
    """Image and pixel AUROC of scores (I,) and maps (I, G, G)."""
    image = float(roc_auc_score(shots.labels, scores))
    if shots.masks is None:
        return image, float("nan")
    fine = F.interpolate(maps[:, None], shots.masks.shape[1:], mode="bilinear")[:, 0]
    keep = shots.masked
    truth, guess = shots.masks[keep].flatten().numpy(), fine[keep].flatten().numpy()
    return image, float(roc_auc_score(truth, np.round(guess, 4)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--organ", default="organ")
    parser.add_argument("--backbone", default="medscan-mini")
    parser.add_argument("--method", default="mvfa")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    settings = {name: json.loads(value) for name, value in (s.split("=") for s in args.set)}
    rows, shots = [], None
    for seed in args.seeds:
        options = FitOptions(
            shots=args.shots,
            method=args.method,
            backbone=args.backbone,
            organ=args.organ,
            domain=Domain(plane=Plane.AXIAL),
            seed=seed,
            folds=0,
            settings=settings,
        )
        _, method = fit(args.data, options)
        if shots is None:
            shots = load_items(
                read_items(args.data, "test"), size=method.backbone.size, window="auto", plane=None
            )
        rows.append(measure(method, shots))
        print(f"seed {seed}: image {rows[-1][0]:.4f} pixel {rows[-1][1]:.4f}", flush=True)
    mean, spread = np.mean(rows, 0), np.std(rows, 0, ddof=1) if len(rows) > 1 else np.zeros(2)
    print(
        f"{args.data.name} {args.method} K={args.shots}: "
        f"image AUROC {mean[0]:.3f} +- {spread[0]:.3f}, "
        f"pixel AUROC {mean[1]:.3f} +- {spread[1]:.3f} over {len(rows)} seeds"
    )


if __name__ == "__main__":
    main()
