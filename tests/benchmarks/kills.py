"""Kill -9 in each phase of a scan: nothing published is damaged, and nothing done is lost.

    python tests/benchmarks/kills.py [--kills 300] [--studies 12] [--seed 0]

Each scan of a small archive, all of whose files have new times, is killed a random moment after it
has come to one phase in turn: reading headers, scanning, publishing (after the last study is
scored), writing the worklist. After each kill the results file must be a complete one; after all of
them a last scan must give what a scan that was never killed gives, and leave no leftovers. Prints
how many scans were killed in each phase, and how many results files were damaged or studies lost.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from medscan import archive, report, results
from medscan.detector import Domain
from medscan.fitting import FitOptions, fit
from medscan.options import ScanOptions
from medscan.scanning import LocalEngine, run, scan
from tests import tiny
from tests.content import seen
from tests.options import changed, small_scan
from tests.processes import warm

PHASES = ("index", "scan", "publish", "report")
LONGEST_S = 1.0
"""Longest time from the beginning of a phase to the kill; most phases are shorter."""


def marking(phase: str, marks: Path, work: Callable[..., Any]) -> Callable[..., Any]:
    """The same work, which says first that it begins."""

    def marked(*args: Any, **more: Any) -> Any:
        (marks / phase).touch()
        return work(*args, **more)

    return marked


def write_report(out: Path, table: Path, page: Path) -> None:
    files = [results.open(out)]
    report.write_csv(files, table)
    report.write_html(files, page)


def marked_scan(options: ScanOptions, marks: Path) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    archive.index = marking("index", marks, archive.index)
    LocalEngine.scan = marking("scan", marks, LocalEngine.scan)  # type: ignore[method-assign]
    run.publish_results = marking("publish", marks, run.publish_results)
    scan(options, publish=marking("report", marks, write_report))


def killed_in(phase: str, options: ScanOptions, marks: Path, dice: random.Random) -> bool:
    """Whether a scan was killed after it had begun a phase, and before its end."""
    for mark in marks.iterdir():
        mark.unlink()
    process = warm().Process(target=marked_scan, args=(options, marks))
    process.start()
    while process.is_alive() and not (marks / phase).exists():
        time.sleep(0.005)
    process.join(dice.uniform(0, LONGEST_S))
    process.kill()
    process.join()
    return process.exitcode != 0


def touch(root: Path, seconds: int) -> None:
    """Give every study something new, though nothing that is seen of it has changed."""
    for file in root.rglob("*"):
        os.utime(file, (seconds, seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--studies", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        rounds(Path(made), args.kills, args.studies, args.seed)


def rounds(folder: Path, kills: int, studies: int, seed: int) -> None:
    (folder / "marks").mkdir()
    for number in range(studies):
        volume = tiny.head_volume(number, slices=2, side=32)
        tiny.write_series(folder / "root" / f"{number:02d}", volume, study=f"1.{number}")
    options = prepared(folder)
    whole = replace(options, outputs=replace(options.outputs, out=folder / "whole.h5"))
    scan(whole)
    expected, dice = seen(folder / "whole.h5"), random.Random(seed)
    killed, damaged = Counter[str](), 0
    for number in range(kills):
        phase = PHASES[number % len(PHASES)]
        killed[phase] += killed_in(phase, options, folder / "marks", dice)
        out = options.outputs.out
        damaged += out.exists() and seen(out) != expected
        touch(folder / "root", 10**9 + number)
    scan(options, publish=write_report)
    lost = len(set(expected) ^ set(seen(options.outputs.out)))
    left = [p.name for p in folder.iterdir() if p.name.endswith((".part", ".parts", "-journal"))]
    print(f"killed: {dict(killed)}; damaged: {damaged}; lost: {lost}; left over: {left}")


def prepared(folder: Path) -> ScanOptions:
    """Options of a scan with a tiny detector."""
    pictures = tiny.write_pictures(folder / "pictures")
    backbone = tiny.write_backbone(folder / "backbone")
    domain = Domain("MR", "BRAIN", "FLAIR", "axial")
    settings = {"epochs": 3, "bank_rows": 32}
    wanted = FitOptions(
        method="mvfa",
        shots=6,
        backbone=f"local-dir:{backbone}",
        organ="Brain",
        domain=domain,
        folds=2,
        settings=settings,
    )
    found, method = fit(pictures, wanted)
    fitted = folder / "tiny.safetensors"
    found.save(fitted, method)
    return changed(small_scan(folder / "root", fitted, folder), workers=1)


if __name__ == "__main__":
    main()
