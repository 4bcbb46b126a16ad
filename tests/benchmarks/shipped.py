"""The acceptance test of the shipped detectors, on test patients whom no fitting saw.

    python tests/benchmarks/shipped.py DATA VOLUMES [--out FOLDER] [brain-flair ...]

writes a table of labels from each set's cases.csv and runs `medscan accept` with it, at goals of 80
percent and a stated prevalence of 10: breast ultrasound and chest films of DATA, a picture a study,
and slabs of brain of VOLUMES, one a patient.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ASKED = ("--min-sensitivity", "0.8", "--min-specificity", "0.8", "--prevalence", "0.1")
PICTURES = {"breast-ultrasound": "breast_us_busi", "chest-xray": "chest_xray_nih"}
SLABS = {"brain-flair": "brain_flair_lgg"}
Row = dict[str, str]


def test_cases(folder: Path) -> Iterator[Row]:
    with (folder / "cases.csv").open(encoding="utf-8") as stream:
        yield from (row for row in csv.DictReader(stream) if row["split_hint"] == "test")


def pictures(folder: Path) -> Iterator[Row]:
    for row in test_cases(folder):
        word = ("normal", "abnormal")[int(row["label"])]
        path = next((folder / word).glob(f"{row['case']}.*")).relative_to(folder)
        yield {"path": str(path), "label": word, "patient": row["patient"], "split": "test"}


def slabs(folder: Path) -> Iterator[Row]:
    for row in test_cases(folder):
        if row["volume"].startswith("slabs"):
            word = ("normal", "abnormal")[int(row["label"])]
            path = f"{row['volume']}.nii.gz"
            yield {"path": path, "label": word, "patient": row["patient"], "split": "test"}


def accept(detector: str, folder: Path, rows: Iterator[Row], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    table = out / f"{detector}.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ("path", "label", "patient", "split"))
        writer.writeheader()
        writer.writerows(rows)
    words = ["accept", detector, "--archive", str(folder), "--labels", str(table), *ASKED]
    print(f"medscan {' '.join(words)}", flush=True)
    command = [sys.executable, "-m", "medscan", *words, "--out", str(out / detector)]
    subprocess.run(command, check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("volumes", type=Path)
    parser.add_argument("detectors", nargs="*", default=[*SLABS, *PICTURES])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.detectors:
            own = name in SLABS
            folder = args.volumes / SLABS[name] if own else args.data / PICTURES[name]
            rows = slabs(folder) if own else pictures(folder)
            accept(name, folder, rows, args.out or Path(scratch))


if __name__ == "__main__":
    main()
