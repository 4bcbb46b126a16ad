"""How many unseen normals a detector flags, beside what its calibration promised.

    python tests/benchmarks/promise.py FOLDER... [--method discriminant] [--shots 16] [--draws 10]
    python tests/benchmarks/promise.py --slabs VOLUMES [...]

FOLDER holds labelled images as for `medscan fit`, with a split: every draw fits on 16 + 16 of the
training patients and scores the others. VOLUMES is a folder with a cases.csv of volumes, patients
and labels, of which slabs are used: every draw fits on half of the patients. A volume is scored as
a scan would, by the threshold for as many slices.

Prints, for each nominal rate, the rate that the normals at hand can reach; the share of unseen
normals that was flagged, mean and range over the draws; in how many draws it lay within the 95 %
band; and the share of abnormal ones that was flagged. The band is that of a beta-binomial
distribution: the threshold comes from n exchangeable normals, and as many new ones are counted as
there are patients.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import betabinom

from medscan.fit import FitOptions, fit
from medscan.methods import Method
from medscan.normals import Calibration
from medscan.scoring import aggregate, stack_calibration
from medscan.shots import Item, read_items, stream_slices

RATES = (0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Held:
    """Items that are not fitted on, and the images (n, 3, S, S) of each."""

    items: list[Item]
    images: list[torch.Tensor]

    @classmethod
    def of(cls, data: Path, size: int, most: int) -> Held:
        """At most so many of each label, spread over all."""
        items = read_items(data, "test")
        few: list[Item] = []
        for label in (0, 1):
            mine = [item for item in items if item.label == label]
            few += [mine[n * len(mine) // most] for n in range(most)] if len(mine) > most else mine
        return cls(few, [_images(item, size) for item in few])


def _images(item: Item, size: int) -> torch.Tensor:
    slices = stream_slices([item], size=size, window="auto", plane=None)
    return torch.from_numpy(np.stack([one.image for one in slices]))


class Scored:
    """Slice scores of held items; what comes before anything learnt is computed once."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.prepared: dict[str, list[torch.Tensor]] = {}

    @torch.inference_mode()
    def by(self, method: Method) -> list[np.ndarray]:
        key = str(method.settings)
        if key not in self.prepared:
            self.prepared[key] = [method.prepare(images) for images in self.held.images]
        return [method.score(method(one))[0].float().numpy() for one in self.prepared[key]]


@dataclass(frozen=True)
class Row:
    """A draw at a nominal rate."""

    reachable: float
    flagged: float
    within: bool
    sensitivity: float


def row(calibration: Calibration, rate: float, held: Held, scores: Sequence[np.ndarray]) -> Row:
    at = calibration.at_rate(rate)
    limits = [stack_calibration(at, len(one)).threshold for one in scores]
    flags = np.array([aggregate(s) >= t for s, t in zip(scores, limits, strict=True)])
    labels = np.array([item.label for item in held.items])
    stacks = calibration.stacks if any(len(one) > 1 for one in scores) else ()
    n = len(stacks) or len(calibration.normals)
    above = max(n - int(np.ceil((n + 1) * (1 - rate) - 1e-9)), 0) + 1
    patients = len({item.patient for item in held.items if not item.label})
    flagged = float(flags[labels == 0].mean())
    low, high = betabinom.ppf([0.025, 0.975], patients, above, n + 1 - above) / patients
    within = bool(low - 1e-9 <= flagged <= high + 1e-9)
    return Row(above / (n + 1), flagged, within, float(flags[labels == 1].mean()))


def draws(folders: Iterator[tuple[int, Path]], args: argparse.Namespace) -> Iterator[list[Row]]:
    """Rows of each draw; held items are kept while the folder is the same."""
    kept: tuple[Path, Scored] | None = None
    settings = dict(pair.split("=") for pair in args.set)
    for seed, data in folders:
        options = FitOptions(
            method=args.method, shots=args.shots, backbone=args.backbone, organ=args.organ,
            seed=seed, folds=args.folds, settings={k: int(v) for k, v in settings.items()},
        )  # fmt: skip
        detector, method = fit(data, options)
        if kept is None or kept[0] != data:
            kept = data, Scored(Held.of(data, method.backbone.size, args.most))
        scores = kept[1].by(method)
        yield [row(detector.calibration, rate, kept[1].held, scores) for rate in RATES]


def slabs(volumes: Path, scratch: Path, seed: int) -> Path:
    """A folder of slabs, half of whose patients are for training."""
    with (volumes / "cases.csv").open(encoding="utf-8") as stream:
        cases = [case for case in csv.DictReader(stream) if case["volume"].startswith("slabs/")]
    folder, rng, rows = scratch / f"draw{seed}", random.Random(seed), []
    for label, word in enumerate(("normal", "abnormal")):
        mine = [case for case in cases if case["label"] == str(label)]
        order = sorted({case["patient"] for case in mine})
        rng.shuffle(order)
        for case in mine:
            split = ("train", "test")[order.index(case["patient"]) % 2]
            name = f"{Path(case['volume']).name}-{word}"
            rows.append((name, case["patient"], split))
            _link(volumes / f"{case['volume']}.nii.gz", folder / word / f"{name}.nii.gz")
            if label:
                _link(volumes / case["mask"], folder / "masks" / f"{name}.nii.gz")
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("case", "patient", "split"), *rows])
    return folder


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())


def show(name: str, rows: Sequence[Sequence[Row]]) -> None:
    print(f"{name}\nnominal  reachable  flagged (range)           in band  sensitivity")
    for rate, drawn in zip(RATES, zip(*rows, strict=True), strict=True):
        flagged = [one.flagged for one in drawn]
        print(
            f"{rate:7.0%}  {np.mean([one.reachable for one in drawn]):9.1%}  "
            f"{np.mean(flagged):7.1%} ({min(flagged):6.1%} to {max(flagged):6.1%})  "
            f"{sum(one.within for one in drawn):3} of {len(drawn):2}  "
            f"{np.mean([one.sensitivity for one in drawn]):11.1%}",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Count flagged normals beside what was promised.")
    parser.add_argument("data", type=Path, nargs="*")
    parser.add_argument("--slabs", type=Path)
    parser.add_argument("--method", default="discriminant")
    parser.add_argument("--backbone", default="medscan-mini")
    parser.add_argument("--organ", default="organ")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--most", type=int, default=100, help="held images of each label")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="of the method")
    args = parser.parse_args(arguments)
    for data in args.data:
        same = ((seed, data) for seed in range(args.draws))
        show(f"{data.name}, {args.method}", list(draws(same, args)))
    if args.slabs:
        with tempfile.TemporaryDirectory() as scratch:
            each = ((n, slabs(args.slabs, Path(scratch), n)) for n in range(args.draws))
            show(f"{args.slabs.name}, slabs, {args.method}", list(draws(each, args)))


if __name__ == "__main__":
    main()
