"""Difference between a detector's scores in bf16 or fp16 and in fp32, on labelled data.

    python tests/benchmarks/precision.py DETECTOR=DATA ... [--precision bf16] [--slices 400]

DATA is a folder or manifest as `medscan evaluate` reads it; every n-th file is used, so that about
--slices slices are scored. Compared with fp32 on the same slices, it prints: Spearman's rank
correlation of slice scores and of patients' scores (a scan's rule over all slices of a patient);
the largest difference and its 99th percentile for slice scores, and the largest for patch scores;
how many scores cross the detector's threshold; the AUROC of slices and pixels; and the speed-up of
the model in CPU time of one thread.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr

from medscan import detector
from medscan.choices import Plane
from medscan.detector import Detector
from medscan.evaluate.figures import Evaluation, figures
from medscan.evaluate.observe import Observations, observe
from medscan.scoring.stacks import aggregate
from medscan.shots import LabelledSlice, read_items, stream_slices


def slices_of(fitted: Detector, data: Path, size: int, count: int) -> list[LabelledSlice]:
    """About `count` slices of all splits of the data."""
    items = [i for split in ("train", "test") for i in read_items(data, split, required=False)]
    items = sorted(items, key=lambda item: item.name)
    plane = Plane(fitted.domain.plane) if fitted.domain.plane else None
    first = stream_slices(items[:1], size=size, window=fitted.window, plane=plane)
    step = max(1, sum(1 for _ in first) * len(items) // count)
    sample = stream_slices(items[::step], size=size, window=fitted.window, plane=plane)
    return list(islice(sample, 2 * count))


class Run:
    """A detector's scores and figures at one precision."""

    def __init__(self, name: str, precision: str, data: Path, count: int) -> None:
        path = detector.find(Path(name))
        self.fitted = detector.read(path)
        backbone = self.fitted.load_backbone(device="cpu", precision=precision)
        method = self.fitted.load_method(path, backbone)
        slices = slices_of(self.fitted, data, backbone.size, count)
        start = time.thread_time()
        self.observed: Observations = observe(method, slices, published=False)
        self.seconds = time.thread_time() - start
        self.evaluation: Evaluation = figures(
            self.observed, self.fitted.calibration, patch=backbone.patch, draws=0
        )
        self.scores = np.array([row[3] for row in self.evaluation.rows])

    def patients(self) -> np.ndarray:
        """Score of each patient."""
        names = np.array([row[1] for row in self.evaluation.rows])
        groups = [self.scores[names == name].astype(np.float32) for name in np.unique(names)]
        return np.array([aggregate(scores) for scores in groups])

    def areas(self) -> tuple[float, float]:
        """AUROC of slices and of pixels."""
        pixels = self.evaluation.pixels
        return self.evaluation.slices.auroc.value, pixels.auroc.value if pixels else float("nan")


def compare(name: str, low: Run, full: Run, precision: str) -> None:
    differences = np.abs(low.scores - full.scores)
    maps = zip(low.observed.maps(), full.observed.maps(), strict=True)
    worst = max(float(np.abs(a - b).max()) for a, b in maps)
    threshold = full.fitted.calibration.threshold
    crossed = int(((low.scores >= threshold) != (full.scores >= threshold)).sum())
    both = low.areas(), full.areas()
    areas = [f"{a:.5f} ({100 * (a - b):+.4f} points)" for a, b in zip(*both, strict=True)]
    print(
        f"{name}, {len(differences)} slices, {precision}: Spearman "
        f"{spearmanr(low.scores, full.scores).statistic:.6f} of slices, "
        f"{spearmanr(low.patients(), full.patients()).statistic:.6f} of {len(full.patients())} "
        f"patients; scores differ by at most {differences.max():.4f} (99 %: "
        f"{np.percentile(differences, 99):.4f}), patches by {worst:.4f}; {crossed} cross the "
        f"threshold; AUROC {areas[0]} of slices, {areas[1]} of pixels; "
        f"{full.seconds / low.seconds:.2f} times as fast",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare precisions with fp32.")
    parser.add_argument("pairs", nargs="+", metavar="DETECTOR=DATA")
    parser.add_argument("--precision", nargs="+", default=["bf16"])
    parser.add_argument("--slices", type=int, default=400)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for pair in args.pairs:
        name, _, data = pair.partition("=")
        full = Run(name, "fp32", Path(data), args.slices)
        for precision in args.precision:
            compare(pair, Run(name, precision, Path(data), args.slices), full, precision)


if __name__ == "__main__":
    main()
