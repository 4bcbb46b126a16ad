"""What simple baselines reach on the shots and test images of a suite, which methods should exceed.

    python tests/benchmarks/baselines.py tests/benchmarks/five_sets.toml --root DATA --shots 16 4

Image AUROC, mean and deviation over the suite's seeds: of raw pixels and of a grey-level histogram
(logistic regression), of a logistic regression on the tokens of four levels, and of the distance to
the nearest normal shot in them. Shots and test images are those that the suite gives every method.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medscan import clip
from medscan.choices import Plane
from medscan.methods import Method, build, settings_of
from medscan.parts.regression import describe
from medscan.shots import load_items, read_items
from medscan.shots.shots import Shots, draw_shots
from medscan.suites import read_suite

Features = NDArray[np.float32]
SIDE, BINS = 32, 64
"""Side that pixels are reduced to, and bins of the histogram."""


def pixels(images: torch.Tensor, _: Method) -> Features:
    """Grey levels of a small copy."""
    return F.adaptive_avg_pool2d(images.mean(1), SIDE).flatten(1).numpy()


def histogram(images: torch.Tensor, _: Method) -> Features:
    """Shares of the grey levels."""
    grey = images.mean(1).flatten(1)
    return torch.stack([torch.histc(one, BINS, 0, 1) for one in grey]).numpy() / grey.shape[1]


def tokens(images: torch.Tensor, method: Method) -> Features:
    """Mean, deviation and maximum of the patches of four levels."""
    with torch.inference_mode():
        parts = [method(method.prepare(part)).seg for part in torch.split(images, 8)]
    return torch.cat([describe(torch.stack(levels, 1)[:, :, 1:]) for levels in parts]).numpy()


def regress(shots: Features, labels: Features, test: Features) -> Features:
    """Logistic regression, both labels alike in weight."""
    model = make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced")
    )
    return model.fit(shots, labels).decision_function(test)


def nearest(shots: Features, labels: Features, test: Features) -> Features:
    """Distance by cosine to the nearest normal shot."""
    normal, queries = (F.normalize(torch.from_numpy(x)) for x in (shots[labels == 0], test))
    return (1 - (queries @ normal.T).amax(1)).numpy()


Rule = Callable[[Features, Features, Features], Features]
BASELINES: dict[str, tuple[Callable[[torch.Tensor, Method], Features], Rule]] = {
    "raw pixels": (pixels, regress),
    "histogram": (histogram, regress),
    "linear probe": (tokens, regress),
    "nearest normal": (tokens, nearest),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("suite", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--shots", type=int, nargs="+", default=[16, 4])
    args = parser.parse_args()
    suite = read_suite(args.suite, args.root)
    backbone = clip.load(suite.backbone)
    method = build(
        "discriminant", backbone, "x", settings_of("discriminant", view="whole"), masked=False
    )
    for data in suite.data:
        plane = Plane(data.plane) if data.plane else None
        how = {"size": backbone.size, "window": data.window, "plane": plane}
        test = load_items(read_items(data.path, "test"), **how)
        items = read_items(data.path)
        made: dict[Callable, Features] = {}
        for count in args.shots:
            drawn = [draw_shots(items, count, seed, **how) for seed in suite.seeds]
            for name, (features, rule) in BASELINES.items():
                if features not in made:
                    made[features] = features(test.images, method)
                found = [measure(shots, test, features, rule, made, method) for shots in drawn]
                print(
                    f"{data.name} K={count} {name}: "
                    f"{np.mean(found):.3f} +- {np.std(found, ddof=1):.3f}",
                    flush=True,
                )


def measure(
    shots: Shots, test: Shots, features: Callable, rule: Rule, made: dict, method: Method
) -> float:
    """Image AUROC of a baseline."""
    scores = rule(features(shots.images, method), shots.labels.numpy(), made[features])
    return roc_auc_score(test.labels.numpy(), scores)


if __name__ == "__main__":
    main()
