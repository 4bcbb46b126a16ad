"""What labels of whole studies are worth, beside labels of slices and masks.

    python tests/benchmarks/study_labels.py DATA --studies 8 16 --seeds 0 1 2 --method discriminant

DATA has a cases.csv whose rows are either volumes (columns volume, patient, label, mask and
split_hint; --below chooses a folder of them) or images below normal/, abnormal/ and masks/, where
those of a patient make a study. A patient whose images have both labels is abnormal; where too few
patients are normal, the normal images of others make normal studies.

For each draw of K + K training studies, detectors learn from the labels of the studies; from those
of their slices (at most four of each, evenly spaced); and from masks too, if there are any. Each is
measured on all slices of the test patients. Prints the image AUROC of each, its mean and deviation
over the draws, and how far study labels are from the others: the mean difference, and its interval
when test patients are drawn anew while the fitted detectors stay.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from medscan.bags import StudyOptions, Watcher, fit_studies
from medscan.bags.draw import evenly
from medscan.choices import Plane
from medscan.detector import Domain
from medscan.fitting import FitOptions, fit_shots, load_backbone
from medscan.methods import Method, settings_of, system_of
from medscan.metrics import Estimate, auroc, difference, group_counts, weighted_auroc
from medscan.shots import Item, LabelledSlice, load_slots, stacked
from medscan.shots.slots import slots_of

SLICES = 4
"""Slices of a study whose own labels are learnt from."""


@dataclass(frozen=True, slots=True)
class Study:
    """Files of one patient, or a volume of his; `label` is that of the whole."""

    name: str
    label: int
    items: tuple[Item, ...]


def read_cases(data: Path, below: str) -> dict[str, list[Item]]:
    """Every file of both splits."""
    found: dict[str, list[Item]] = {"train": [], "test": []}
    with (data / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        if "volume" in row:
            if row["volume"].startswith(below):
                path = data / f"{row['volume']}.nii.gz"
                mask = data / row["mask"] if row["label"] == "1" else None
                item = Item(row["volume"], path, int(row["label"]), row["patient"], mask)
                found[row["split_hint"]].append(item)
            continue
        split = row.get("split") or row["split_hint"]
        for label, folder in enumerate(("normal", "abnormal")):
            for path in (data / folder).glob(f"{row['case']}.*"):
                mask = next((data / "masks").glob(f"{row['case']}.*"), None) if label else None
                found[split].append(Item(path.name, path, label, row["patient"], mask))
    return found


def studies_of(items: list[Item], count: int, seed: int) -> list[Study]:
    """K normal and K abnormal studies of different patients."""
    volumes = all(item.path.name.endswith(".nii.gz") for item in items)
    groups: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.name if volumes else item.patient].append(item)
    names = sorted(groups)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    whole = [Study(n, max(i.label for i in groups[n]), tuple(groups[n])) for n in order]
    normal = [study for study in whole if not study.label]
    abnormal = [study for study in whole if study.label]
    for study in [s for s in abnormal if any(not i.label for i in s.items)]:
        if len(normal) < count < len(abnormal):
            abnormal.remove(study)
            kept = tuple(item for item in study.items if not item.label)
            normal.append(Study(study.name, 0, kept))
    return [*normal[:count], *abnormal[:count]]


def from_studies(studies: list[Study], options: FitOptions, folder: Path) -> Method:
    """Fit on labels of studies alone, through a table and an archive of their files."""
    rows = ["path,label,patient"]
    for number, study in enumerate(studies):
        place = folder / "archive" / f"s{number}"
        place.mkdir(parents=True)
        for item in study.items:
            shutil.copy(item.path, place / item.path.name)
        word = ("normal", "abnormal")[study.label]
        rows.append(f"s{number},{word},{study.items[0].patient}")
    (folder / "labels.csv").write_text("\n".join(rows))
    told = Watcher(lambda line: print(f"  {line}", file=sys.stderr))
    return fit_studies(
        StudyOptions([folder / "archive"], folder / "labels.csv"), options, watcher=told
    )[1]


def from_slices(studies: list[Study], options: FitOptions, *, masked: bool) -> Method:
    """Fit on slices whose own label is known, and on their masks."""
    settings = settings_of(options.method)
    backbone = load_backbone(options, settings)
    chosen: list[LabelledSlice] = []
    for study in studies:
        slices = drawn(study.items, options, backbone.size)
        alike = [one for one in slices if one.item.label == study.label]
        chosen += evenly(alike, SLICES)
    if not masked:
        chosen = [LabelledSlice(one.item, one.image, None, one.inside) for one in chosen]
    return fit_shots(stacked(chosen), backbone, options, settings)[1]


def drawn(items, options: FitOptions, size: int) -> list[LabelledSlice]:
    plane = Plane(options.domain.plane) if options.domain.plane else None
    slots = slots_of(items, plane, whole=True)
    return list(load_slots(slots, size=size, window=options.window))


Prepare = Callable[[Method, torch.Tensor], torch.Tensor]


def once(prepare: Prepare) -> Prepare:
    """`Method.prepare` that runs the tower once for each image: draws share most of theirs."""
    kept: dict[tuple[str, bytes], torch.Tensor] = {}

    def key(method: Method, image: torch.Tensor) -> tuple[str, bytes]:
        return str(method.settings), hashlib.sha256(image.contiguous().numpy().tobytes()).digest()

    def prepared(method: Method, images: torch.Tensor) -> torch.Tensor:
        keys = [key(method, image) for image in images]
        if new := [n for n, name in enumerate(keys) if name not in kept]:
            kept.update(zip([keys[n] for n in new], prepare(method, images[new]), strict=True))
        return torch.stack([kept[name] for name in keys])

    return prepared


class Test:
    """Slices of the test patients."""

    def __init__(self, items: list[Item], options: FitOptions, size: int) -> None:
        slices = drawn(items, options, size)
        self.images = [torch.from_numpy(np.ascontiguousarray(one.image)) for one in slices]
        self.labels = np.array([one.item.label for one in slices])
        names, patients = np.unique([one.item.patient for one in slices], return_inverse=True)
        self.drawn = group_counts(len(names))[:, patients]  # how often each slice, in each draw

    @torch.inference_mode()
    def scores(self, method: Method) -> np.ndarray:
        """Image scores (n,)."""
        parts = torch.split(torch.stack(self.images), 8)
        return torch.cat([method.predict(part)[0] for part in parts]).numpy()

    def auroc(self, scores: np.ndarray) -> float:
        return auroc(self.labels, scores)

    def apart(self, first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> Estimate:
        """Mean difference in AUROC of detectors in pairs, with its interval by test patient."""
        return difference(self._mean(first), self._mean(second))

    def _mean(self, scored: Sequence[np.ndarray]) -> tuple[float, np.ndarray]:
        """Mean AUROC, and its values when patients are drawn anew."""
        drawn = [weighted_auroc(self.labels, scores, self.drawn) for scores in scored]
        return float(np.mean([self.auroc(scores) for scores in scored])), np.mean(drawn, 0)


@dataclass(frozen=True, slots=True)
class Found:
    """Scores of the test slices by number of studies and what was labelled, one for each seed."""

    test: Test
    scores: dict[tuple[int, str], list[np.ndarray]]

    def aurocs(self) -> dict[tuple[int, str], list[float]]:
        return {key: [self.test.auroc(s) for s in scored] for key, scored in self.scores.items()}

    def differences(self) -> dict[tuple[int, str], Estimate]:
        """By how much study labels are above the others."""
        return {
            (count, kind): self.test.apart(self.scores[count, "studies"], scored)
            for (count, kind), scored in self.scores.items()
            if kind != "studies"
        }


def measure(
    data: Path, below: str, studies: list[int], seeds: list[int], options: FitOptions
) -> Found:
    """Fit and score with each kind of label, draw by draw."""
    cases = read_cases(data, below)
    size = load_backbone(options, settings_of(options.method)).size
    found = Found(Test(cases["test"], options, size), defaultdict(list))
    for count in studies:
        for seed in seeds:
            chosen = studies_of(cases["train"], count, seed)
            few = min(sum(s.label == label for s in chosen) for label in (0, 1))
            asked = replace(options, seed=seed, shots=few)
            with tempfile.TemporaryDirectory() as folder:
                methods = {"studies": from_studies(chosen, asked, Path(folder))}
            methods["slices"] = from_slices(chosen, asked, masked=False)
            if any(item.mask for item in cases["train"]):
                methods["masks"] = from_slices(chosen, asked, masked=True)
            for kind, method in methods.items():
                found.scores[count, kind].append(found.test.scores(method))
            line = {k: round(v[-1], 3) for (n, k), v in found.aurocs().items() if n == count}
            print(f"{few} + {few} studies, seed {seed}: {line}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--below", default="")
    parser.add_argument("--studies", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--method", default="discriminant")
    parser.add_argument("--backbone", default="medscan-mini")
    parser.add_argument("--plane", default="")
    args = parser.parse_args()
    options = FitOptions(
        method=args.method, backbone=args.backbone, folds=0, domain=Domain(plane=args.plane)
    )
    for kind in {args.method, "discriminant"}:  # the latter finds slices in studies
        method = system_of(kind).method
        method.prepare = once(method.prepare)
    found = measure(args.data, args.below, args.studies, args.seeds, options)
    for (count, kind), values in found.aurocs().items():
        spread = np.std(values, ddof=len(values) > 1)
        print(f"{count:3d} {kind:8s} {np.mean(values):.3f} ± {spread:.3f}")
    for (count, kind), apart in found.differences().items():
        interval = f"{apart.low:+.3f} to {apart.high:+.3f}"
        print(f"{count:3d} studies - {kind}: {apart.value:+.3f} ({interval})")


if __name__ == "__main__":
    main()
