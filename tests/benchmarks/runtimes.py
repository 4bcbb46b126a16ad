"""Whole scans by PyTorch and by OpenVINO, in each precision, compared in one run.

    python tests/benchmarks/runtimes.py [--studies 132] [--detector brain-flair] [--turns 2]
        [--archive FOLDER] [--ways torch,fp32 openvino,fp32 openvino,bf16] [--before FOLDER]

Writes an archive as end_to_end.py does, and scans it with --workers 1 in each way alternately, into
a new results file. The first way is what the others are compared with. Prints slices a second of
clock time, and of processor time with all processes of the scan; the best turn of each counts. A
scan of its first study comes before, so that graphs are in the cache: they are made once for each
detector, not in each scan.

With --before, an earlier medscan is the first way and scans as it does by itself. FOLDER is a
checkout of it, whose libraries must be installed here, and DETECTOR a file that both can read; with
int8 among the ways, one that `medscan optimise` has written.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from medscan.detector import find
from tests.benchmarks.end_to_end import write_archive

WAYS = ("torch,fp32", "openvino,fp32", "openvino,bf16")
BEFORE = "before"


def scan(
    archive: Path, scratch: Path, detector: str, way: str, before: Path | None, *more: str
) -> tuple[float, ...]:
    """Slices a second of clock and of processor time."""
    for path in scratch.glob("results.*"):
        path.unlink()
    environment = dict(os.environ)
    if way == BEFORE:
        environment["PYTHONPATH"] = str(before)
    else:
        runtime, _, precision = way.partition(",")
        more = (*more, "--runtime", runtime, "--precision", precision)
    command = [sys.executable, "-m", "medscan", "scan", str(archive), "--detector", detector,
               "--out", str(scratch / "results.h5"), "--json", "--device", "cpu", "--workers", "1",
               *more]  # fmt: skip
    clock, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=scratch
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    slices = json.loads(done.stdout)["slices"]
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return slices / (time.perf_counter() - clock), slices / spent


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare runtimes and precisions.")
    parser.add_argument("--studies", type=int, default=132)
    parser.add_argument("--detector", default="brain-flair")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--archive", type=Path, help="used again if it exists")
    parser.add_argument("--ways", nargs="+", default=WAYS, metavar="RUNTIME,PRECISION")
    parser.add_argument("--before", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    ways = [BEFORE, *args.ways] if args.before else list(args.ways)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        archive = (args.archive or scratch / "archive").resolve()
        before = args.before and args.before.resolve()
        file = str(find(Path(args.detector)).resolve())
        if not archive.exists():
            write_archive(archive, args.studies)
        for way in ways:
            scan(archive, scratch, file, way, before, "--max-studies", "1")
        rates: dict[str, list[tuple[float, ...]]] = {way: [] for way in ways}
        for _ in range(args.turns):
            for way, found in rates.items():
                found.append(scan(archive, scratch, file, way, before))
    best = {way: [max(column) for column in zip(*found, strict=True)]
            for way, found in rates.items()}  # fmt: skip
    first = best[ways[0]]
    for way, (clock, processor) in best.items():
        print(
            f"{way:15} {clock:6.1f} slices/s, {clock / first[0]:.2f} times; {processor:6.1f} a "
            f"second of processor time, {processor / first[1]:.2f} times"
        )


if __name__ == "__main__":
    main()
