"""Cost of unattended scans: time of a night with nothing new, and memory.

    python tests/benchmarks/nights.py night [--files 50000] [--rounds 3]
    python tests/benchmarks/nights.py memory [--studies 50 500 5000] [--slices 1000]

`night` writes small DICOM files, scans them once, and then times `medscan.scanning.scan` of the
unchanged archive alternately with a bare os.walk and stat of the same files, in one process; the
best round of each counts. No image is scored, because no detector fits them. `memory` scans
archives of studies of 2 slices, and one series of --slices of 512 x 512, each in its own process,
and prints the largest resident sets of the scan and of its decode worker.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from tests.options import scan_options

sys.path.insert(0, str(Path(__file__).parents[2]))

# Nothing heavy is imported up here: decode workers import this file too.


def options_of(archive: Path, scratch: Path):
    from medscan import detector

    path = scratch / "tiny-flair.safetensors"
    return scan_options(
        roots=(archive,),
        out=scratch / f"{archive.name}.h5",
        detectors=((path, detector.read(path)),),
        named=False,
        device="cpu",
        batch_size=8,
        workers=1,
        key_file=scratch / "key",
    )


def write_detector(scratch: Path) -> None:
    from medscan.detector import Domain
    from medscan.fitting import FitOptions, fit
    from tests import tiny

    backbone = tiny.write_backbone(scratch / "clip")
    options = FitOptions(
        method="mvfa",
        shots=4,
        backbone=f"local-dir:{backbone}",
        organ="Brain",
        domain=Domain("MR", "BRAIN", "FLAIR", "axial"),
        folds=2,
        settings={"epochs": 1, "bank_rows": 16},
    )
    detector, method = fit(tiny.write_pictures(scratch / "pictures", 4), options)
    detector.save(scratch / "tiny-flair.safetensors", method)


def night(scratch: Path, files: int, rounds: int) -> None:
    from medscan.scanning import scan
    from tests.benchmarks.index_speed import timed, walked, write

    archive = scratch / "archive"
    write(archive, files)
    options = options_of(archive, scratch)
    print("first:", scan(options).line())
    bare, quiet = [], []
    for _ in range(rounds):
        bare.append(timed(lambda: walked(archive)))
        quiet.append(timed(lambda: scan(options)))
    for name, timings in (("os.walk with stat", bare), ("night", quiet)):
        wall, cpu = (min(times) for times in zip(*timings, strict=True))
        print(f"{name:18} {wall:6.2f} s by clock, {cpu:6.2f} s of processor")
    ratios = [min(q[i] for q in quiet) / min(b[i] for b in bare) for i in (0, 1)]
    print(f"night / os.walk: {ratios[0]:.2f} by clock, {ratios[1]:.2f} by processor")
    print("last:", scan(options).line())


def peak(process: int | str) -> float:
    """Largest resident set so far, MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def child(archive: Path, scratch: Path) -> None:
    """Scan, and print the largest resident sets of the scan and of its worker."""
    import multiprocessing

    from medscan.scanning import scan

    workers, over = [0.0], threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for process in multiprocessing.active_children():
                try:
                    workers.append(peak(process.pid or 0))
                except (OSError, StopIteration):
                    continue

    threading.Thread(target=look, daemon=True).start()
    summary = scan(options_of(archive, scratch))
    over.set()
    print(json.dumps([peak("self"), max(workers), summary.scanned, summary.slices]))


def scanned(archive: Path, scratch: Path) -> tuple[float, float]:
    started = time.perf_counter()
    words = [sys.executable, __file__, "child", str(archive), str(scratch)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    parent, worker, studies, slices = json.loads(done.stdout)
    print(
        f"{studies:5} studies, {slices:6} slices: {parent:7.1f} MiB, worker {worker:7.1f} MiB "
        f"({time.perf_counter() - started:.0f} s)",
        flush=True,
    )
    return parent, worker


def memory(scratch: Path, studies: list[int], slices: int) -> None:
    from tests import tiny

    archive, written = scratch / "archive", 0
    first: tuple[float, float] | None = None
    for count in studies:
        for number in range(written, count):
            volume = tiny.head_volume(number % 7, slices=2, side=32)
            tiny.write_series(archive / f"{number:05d}", volume, study=f"1.2.{number}")
        written = count
        for left in scratch.glob("archive.h5*"):
            left.unlink()
        peaks = scanned(archive, scratch)
        first = first or peaks
        print(f"      {peaks[0] / first[0]:.3f} and {peaks[1] / first[1]:.3f} times the first")
    rng = np.random.default_rng(0)
    for count in (2, slices):
        volume = rng.integers(0, 1000, (512, 512, 2), np.int16)
        tiny.write_series(
            scratch / f"long{count}", np.broadcast_to(volume[:, :, :1], (512, 512, count))
        )
        scanned(scratch / f"long{count}", scratch)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("night", "memory", "child"))
    parser.add_argument("places", type=Path, nargs="*", help="of a child")
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--studies", type=int, nargs="+", default=[50, 500, 5000])
    parser.add_argument("--slices", type=int, default=1000)
    args = parser.parse_args()
    if args.what == "child":
        child(*args.places)
        return
    with tempfile.TemporaryDirectory() as made:
        scratch = Path(made)
        write_detector(scratch)
        if args.what == "night":
            night(scratch, args.files, args.rounds)
        else:
            memory(scratch, args.studies, args.slices)


if __name__ == "__main__":
    main()
