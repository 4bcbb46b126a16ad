"""How many unseen normals a detector flags, beside what its calibration promised.

    python tests/benchmarks/promise.py FOLDER... [--mixed] [--method discriminant] [--draws 10]
    python tests/benchmarks/promise.py --slabs VOLUMES [...]

FOLDER holds labelled images as for `medscan fit`, with a split: every draw fits on 16 + 16 of the
training patients and scores the others. With --mixed, every draw divides the patients of both
splits anew: where those of one split differ from those of the other, no calibration on one can keep
a promise about the other. VOLUMES is a folder with a cases.csv of volumes, patients
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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from scipy.stats import betabinom

from medscan.fitting import FitOptions, fit
from medscan.methods import Method
from medscan.normals import Calibration
from medscan.scoring import aggregate, stack_calibration
from medscan.shots import Item, read_items, stream_slices

RATES = (0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Held:
    """Items that are not fitted on."""

    items: list[Item]

    @classmethod
    def of(cls, data: Path, most: int) -> Held:
        """At most so many of each label, spread over all."""
        items = read_items(data, "test")
        few: list[Item] = []
        for label in (0, 1):
            mine = [item for item in items if item.label == label]
            few += [mine[n * len(mine) // most] for n in range(most)] if len(mine) > most else mine
        return cls(few)


class Scores:
    """Slice scores of items; what comes before anything learnt is computed once."""

    def __init__(self) -> None:
        self.prepared: dict[tuple[Path, str], torch.Tensor] = {}

    @torch.inference_mode()
    def by(self, method: Method, items: Sequence[Item]) -> list[np.ndarray]:
        """Scores (n,) of the slices of each item."""
        keys = [(item.path.resolve(), str(method.settings)) for item in items]
        pairs = zip(items, keys, strict=True)
        self._prepare(method, [item for item, key in pairs if key not in self.prepared])
        tokens = (self.prepared[key] for key in keys)
        return [method.score(method(one))[0].float().numpy() for one in tokens]

    def _prepare(self, method: Method, items: Sequence[Item]) -> None:
        # In one stream, since each starts a process to read files.
        slices = stream_slices(list(items), size=method.backbone.size, window="auto", plane=None)
        for path, some in groupby(slices, lambda one: one.item.path.resolve()):
            images = torch.from_numpy(np.stack([one.image for one in some]))
            self.prepared[path, str(method.settings)] = method.prepare(images)


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


def draws(folders: Iterable[Path], args: argparse.Namespace) -> Iterator[list[Row]]:
    """Rows of each draw."""
    settings = {name: int(value) for name, value in (pair.split("=") for pair in args.set)}
    options = FitOptions(
        method=args.method, shots=args.shots, backbone=args.backbone, organ=args.organ,
        folds=args.folds, settings=settings,
    )  # fmt: skip
    scores = Scores()
    for seed, data in enumerate(folders):
        detector, method = fit(data, replace(options, seed=seed))
        held = Held.of(data, args.most)
        found = scores.by(method, held.items)
        yield [row(detector.calibration, rate, held, found) for rate in RATES]


def slabs(volumes: Path) -> list[Item]:
    """The slabs that a table lists."""
    with (volumes / "cases.csv").open(encoding="utf-8") as stream:
        cases = [case for case in csv.DictReader(stream) if case["volume"].startswith("slabs/")]
    return [
        Item(
            case["volume"],
            volumes / f"{case['volume']}.nii.gz",
            int(case["label"]),
            case["patient"],
            volumes / case["mask"] if case["mask"] else None,
        )
        for case in cases
    ]


def pictures(data: Path) -> list[Item]:
    return [item for split in ("train", "test") for item in read_items(data, split)]


def divided(items: Sequence[Item], scratch: Path, seed: int) -> Path:
    """A manifest of the items, half of whose patients are for training."""
    order = sorted({item.patient for item in items})
    random.Random(seed).shuffle(order)
    train = set(order[::2])
    rows = [
        (
            item.path.resolve(),
            item.label,
            item.mask.resolve() if item.mask else "",
            item.patient,
            "train" if item.patient in train else "test",
        )
        for item in items
    ]
    manifest = scratch / f"draw{seed}.csv"
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("path", "label", "mask", "patient", "split"), *rows])
    return manifest


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
    parser.add_argument("--mixed", action="store_true", help="divide patients anew in every draw")
    parser.add_argument("--method", default="discriminant")
    parser.add_argument("--backbone", default="medscan-mini")
    parser.add_argument("--organ", default="organ")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--most", type=int, default=100, help="held images of each label")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="of the method")
    args = parser.parse_args(arguments)
    mixed = {data.name: pictures(data) for data in args.data} if args.mixed else {}
    if args.slabs:
        mixed[f"{args.slabs.name}, slabs"] = slabs(args.slabs)
    if not args.mixed:
        for data in args.data:
            show(f"{data.name}, {args.method}", list(draws([data] * args.draws, args)))
    with tempfile.TemporaryDirectory() as scratch:
        for name, items in mixed.items():
            each = (divided(items, Path(scratch), seed) for seed in range(args.draws))
            show(f"{name}, {args.method}", list(draws(each, args)))


if __name__ == "__main__":
    main()
