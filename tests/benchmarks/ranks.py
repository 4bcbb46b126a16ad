"""How well one worklist of several detectors separates normal from abnormal studies.

    python tests/benchmarks/ranks.py DATA VOLUMES [--keep FOLDER]

DATA holds the folders brain_mri_lgg, breast_us_busi and chest_xray_nih, each with the folders
`normal` and `abnormal`; VOLUMES the folder brain_flair_lgg with a cases.csv of volumes, patients
and labels. Every picture and every slab is scanned as a study of its own by the shipped detector of
its kind, except what that detector was fitted on and slabs of the same patients. Whole volumes are
left out: each has a tumour, so that the size of a study would tell its class. Prints the area under
the ROC curve of each detector's worklist, their mean, and that of the merged worklist: by raw
scores, and by rank.
"""

from __future__ import annotations

import argparse
import csv
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from medscan import detector as detectors
from medscan import results
from medscan.metrics import auroc
from medscan.report import Row, rank

NIGHT = {
    "brain-flair": "brain_mri_lgg",
    "breast-ultrasound": "breast_us_busi",
    "chest-xray": "chest_xray_nih",
}
"""Data set of each shipped detector."""
BRAIN, VOLUMES = "brain-flair", "brain_flair_lgg"
"""Detector that is also given slabs of volumes, and their data set."""
LABELS = ("normal", "abnormal")


def unseen(name: str, data: Path, volumes: Path) -> Iterator[tuple[str, Path]]:
    """Yield the images that a detector was not fitted on, with their labels."""
    shots = detectors.read(detectors.find(Path(name))).shots
    # Of a volume every slice is a shot of its own: `FILE#SLICE`.
    fitted_on = {Path(s.partition("#")[0]).name for s in (*shots["normal"], *shots["abnormal"])}
    for label in LABELS:
        files = sorted((data / NIGHT[name] / label).glob("*.png"))
        yield from ((label, file) for file in files if file.name not in fitted_on)
    if name != BRAIN:
        return
    with (volumes / VOLUMES / "cases.csv").open(encoding="utf-8") as stream:
        for case in csv.DictReader(stream):
            seen = any(file.startswith(case["patient"]) for file in fitted_on)
            if case["volume"].startswith("slabs/") and not seen:
                yield LABELS[int(case["label"])], volumes / VOLUMES / f"{case['volume']}.nii.gz"


def scan(name: str, images: Iterator[tuple[str, Path]], folder: Path) -> Path:
    """Scan what is new as a user would, each image as a study; return the results file."""
    archive, out = folder / name, folder / f"{name}.h5"
    for label, image in images:
        home = archive / label / image.parent.name / image.name.partition(".")[0]
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy2(image, home)
    command = [sys.executable, "-m", "medscan", "scan", archive, "--detector", name, "--out", out]
    subprocess.run([*command, "--no-hash-paths", "--no-thumbnails"], check=True)
    return out


def area(rows: Sequence[Row], values: Sequence[float]) -> float:
    """Area under the ROC curve of values, higher for more abnormal."""
    labels = [int("abnormal" in Path(str(row.study.info["path"])).parts) for row in rows]
    return auroc(labels, values)


def areas(rows: Sequence[Row]) -> tuple[float, float]:
    """Areas of a worklist by raw scores and by rank."""
    scored = [row for row in rows if row.rank is not None]
    raw = area(scored, [row.study.score for row in scored])
    return raw, area(scored, [-float(row.rank or math.inf) for row in scored])


def main() -> None:
    parser = argparse.ArgumentParser(description="Separate normal from abnormal in one worklist.")
    parser.add_argument("data", type=Path)
    parser.add_argument("volumes", type=Path)
    parser.add_argument("--keep", type=Path, help="folder of archives and results, to use again")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        files = {name: scan(name, unseen(name, args.data, args.volumes), folder) for name in NIGHT}
        lists = {name: rank([results.open(path)]) for name, path in files.items()}
        merged = rank([results.open(path) for path in files.values()])
    alone = {name: areas(rows) for name, rows in lists.items()}
    print(f"{'worklist':20} {'studies':>7} {'raw':>7} {'rank':>7}")
    for name, (raw, ranked) in alone.items():
        print(f"{name:20} {len(lists[name]):7} {raw:7.4f} {ranked:7.4f}")
    mean = [sum(column) / len(alone) for column in zip(*alone.values(), strict=True)]
    print(f"{'mean of the three':20} {'':7} {mean[0]:7.4f} {mean[1]:7.4f}")
    raw, ranked = areas(merged)
    print(f"{'merged':20} {len(merged):7} {raw:7.4f} {ranked:7.4f}")


if __name__ == "__main__":
    main()
