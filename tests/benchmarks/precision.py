"""What a runtime and a precision do to a detector's figures, on labelled data.

    python tests/benchmarks/precision.py DETECTOR=DATA ... [--slices 400]
        [--ways torch,bf16 openvino,fp32 openvino,bf16]

DATA is a folder or manifest as `medscan evaluate` reads it; of patients whom the detector was not
fitted on, every n-th file is used, so that about --slices slices are scored. Prints a line of a
table for PyTorch in fp32, which the others are compared with, and for each way: AUROC of slices and
of pixels; sensitivity and specificity at the detector's threshold; flags that change, and of how
many; the largest difference of a slice's score, the mean one in standard deviations of the scores,
and Spearman's rank correlation; and how many times as fast the model is, in processor time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medscan import detector, optimise
from medscan.choices import Precision, RuntimeName
from medscan.detector import Detector
from medscan.evaluate import Evaluation, score_with
from medscan.runtimes import Model, load

FULL = "torch,fp32"
WAYS = ("torch,bf16", "openvino,fp32", "openvino,bf16")
HEAD = ("AUROC", "pixels", "sens.", "spec.", "flags", "largest", "bias", "Spearman", "speed")


def loaded(path: Path, found: Detector, way: str) -> Model:
    runtime, precision = way.split(",")
    return load(path, found, Precision(precision), runtime=RuntimeName(runtime))


def evaluated(model: Model, found: Detector, slices: Any) -> tuple[Evaluation, float]:
    """Figures, and processor seconds."""
    start = time.process_time()
    evaluation = score_with(model, found.calibration, slices)
    return evaluation, time.process_time() - start


def row(way: str, full: tuple[Evaluation, float], low: tuple[Evaluation, float]) -> str:
    (before, old), (after, new) = full, low
    trial = optimise.compare(Precision(way.split(",")[1]), before, after)
    worst = max(abs(a.score - b.score) for a, b in zip(before.rows, after.rows, strict=True))
    rates = [
        np.mean([bool(r.flagged) == bool(label) for r in after.rows if r.label == label])
        for label in (1, 0)
    ]
    pixels = after.pixels.auroc.value if after.pixels else float("nan")
    cells = [f"{after.slices.auroc.value:.4f}", f"{pixels:.4f}", *(f"{r:.3f}" for r in rates)]
    cells += [f"{trial.flags} of {trial.slices}", f"{worst:.1e}", f"{trial.bias:+.4f}"]
    cells += [f"{trial.spearman:.5f}", f"{old / new:.2f}"]
    return f"{way:15}" + "".join(f"{cell:>11}" for cell in cells)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare runtimes and precisions with fp32.")
    parser.add_argument("pairs", nargs="+", metavar="DETECTOR=DATA")
    parser.add_argument("--ways", nargs="+", default=WAYS, metavar="RUNTIME,PRECISION")
    parser.add_argument("--slices", type=int, default=400)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for pair in args.pairs:
        name, _, data = pair.partition("=")
        path = detector.find(Path(name))
        found = detector.read(path)
        model = loaded(path, found, FULL)
        slices = optimise.sample(found, Path(data), model.square.size, args.slices)
        print(f"{found.name}, {Path(data).name}, {len(slices)} slices")
        print(" " * 15 + "".join(f"{word:>11}" for word in HEAD), flush=True)
        full = evaluated(model, found, slices)
        print(row(FULL, full, full), flush=True)
        for way in args.ways:
            print(row(way, full, evaluated(loaded(path, found, way), found, slices)), flush=True)


if __name__ == "__main__":
    main()
