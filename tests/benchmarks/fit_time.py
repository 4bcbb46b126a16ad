"""Processor time of a fit with its calibration, beside another build of medscan, by turns.

    python tests/benchmarks/fit_time.py DATA --methods mvfa madclip --before OLD --precision mixed

OLD is a checkout of the other build. Each side fits as `medscan fit --method NAME` would, on one
thread; a precision is asked of this build alone. A whole fit of these methods takes many minutes,
so that its parts are timed: the features of two images, and steps of training in their variants,
of which the fastest counts. The time of the fit is that of the features of all images, and of all
trainings: of the detector and of the folds. What is scored in between is left out on both sides.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

CODE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fit_time import parts
print(*parts(Path(sys.argv[2]), *sys.argv[3:5], *map(int, sys.argv[5:])))
"""


def parts(
    data: Path, name: str, precision: str, shots: int, steps: int, **options
) -> tuple[float, float, int]:
    """Seconds of an image's features and of its part in a step; images in steps of all trainings.

    Uses only what both builds have.
    """
    import torch

    from medscan import clip
    from medscan.fitting import FitOptions
    from medscan.fitting.calibrate import left_out
    from medscan.fitting.run import _folds
    from medscan.fitting.train import prepare, step
    from medscan.methods import build, settings_of
    from medscan.shots import read_items
    from medscan.shots.shots import draw_shots

    torch.set_num_threads(1)
    asked = FitOptions(method=name, shots=shots, precision=precision, **options)
    settings = settings_of(name, **asked.settings)
    backbone = clip.load(asked.backbone, precision=asked.precision)
    drawn = draw_shots(read_items(data), shots, 0, size=backbone.size, window="auto", plane=None)
    method = build(name, backbone, ("Brain",), settings, masked=drawn.masks is not None).train()
    two = torch.zeros(len(drawn), dtype=torch.bool)
    two[[drawn.labels.tolist().index(label) for label in (0, 1)]] = True
    start = time.process_time()
    prepared = prepare(method, drawn.take(two), 0)
    each = (time.process_time() - start) / 2
    pairs = torch.cartesian_prod(torch.arange(2), torch.arange(prepared.tokens.shape[1]))
    batch = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))]
    batch = batch[: settings.batch]
    optimisers, seconds = method.optimisers(), []
    for _ in range(steps + 1):
        start = time.process_time()
        step(method, prepared, batch, optimisers)
        seconds.append((time.process_time() - start) / len(batch))
    folds = left_out(drawn, method.learns_from, _folds(asked), 0)
    learnt = len(drawn) + sum(int((~fold).sum()) for fold in folds)
    return each * len(drawn), min(seconds[1:]), learnt * settings.epochs


def timed(
    build: Path, args: argparse.Namespace, name: str, precision: str
) -> tuple[float, float, int]:
    """`parts` of a build, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(build), "MEDSCAN_FEATURE_CACHE": "0"}
    numbers = [str(args.shots), str(args.steps)]
    words = [str(Path(__file__).parent), str(args.data.resolve()), name, precision, *numbers]
    found = subprocess.run(  # -P: else the folder that this is run in would come first
        [sys.executable, "-P", "-c", CODE, *words], env=environment, check=True, capture_output=True
    )
    features, step, images = found.stdout.split()
    return float(features), float(step), int(images)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--before", type=Path, required=True, help="checkout of another build")
    parser.add_argument("--methods", nargs="*", default=["mvfa", "madclip"])
    parser.add_argument("--precision", default="fp32", help="of this build")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    builds = {
        "before": (args.before.resolve(), "fp32"),
        "now": (Path(__file__).resolve().parents[2], args.precision),
    }
    for name in args.methods:
        found = {side: [] for side in builds}
        for _ in range(args.rounds):
            for side, (build, precision) in builds.items():
                found[side].append(timed(build, args, name, precision))
        seconds = {}
        for side, rounds in found.items():
            features, step, images = map(min, zip(*rounds, strict=True))
            seconds[side] = features + step * images
            print(
                f"{name} {side}: features {features:.1f} s, {1000 * step:.1f} ms an image of a "
                f"step, {images} of these: {seconds[side]:.0f} s"
            )
        print(f"{name}: {seconds['now'] / seconds['before']:.2f} of the time", flush=True)


if __name__ == "__main__":
    main()
