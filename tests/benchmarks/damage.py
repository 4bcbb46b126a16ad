"""Mutate results, part files and ledgers, and use them: is anything lost, and does anything hang?

    python tests/benchmarks/damage.py [--mutations 500] [--seed 0] [--seconds 120]

Scans a few small studies once into a folder with results, and once into one with part files only.
Each mutation changes one file of a copy of such a folder: bits, short and long runs of bytes, two
blocks exchanged, its end. A process of its own then writes a report and an export of the results,
verifies them, and scans the archive twice. Prints how the commands ended, and the numbers of
mutations after which a study was lost, a command took longer than --seconds, or ended in a
traceback. The exit code is 1 if any did.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

STUDIES = 4


def prepare(scratch: Path) -> None:
    """Write an archive, a folder with its results, and one with part files."""
    from medscan.errors import DiskError
    from medscan.scanning import run, scan
    from tests import tiny
    from tests.benchmarks.nights import write_detector

    write_detector(scratch)
    for number in range(STUDIES):
        volume = tiny.head_volume(number, slices=4)
        tiny.write_series(scratch / "archive" / f"{number}", volume, study=f"1.{number}")
    for name in ("whole", "parts"):
        (scratch / name).mkdir()
    scan(options_of(scratch, scratch / "whole"))

    def refuse(*_: object) -> None:
        raise DiskError("not published")

    publish, run.publish_results = run.publish_results, refuse
    with contextlib.suppress(DiskError):
        scan(options_of(scratch, scratch / "parts"))
    run.publish_results = publish


def options_of(scratch: Path, folder: Path):
    from tests.benchmarks import nights

    options = nights.options_of(scratch / "archive", scratch)
    inputs, compute = replace(options.inputs, named=True), replace(options.compute, workers=0)
    outputs = replace(options.outputs, out=folder / "results.h5")
    return replace(options, inputs=inputs, outputs=outputs, compute=compute)


def mutated(data: bytes, draw: random.Random) -> bytes:
    """Change a file's content in one of many ways."""
    changed, size = bytearray(data), len(data)
    kind = draw.choice(("bit", "bit", "bytes", "block", "exchange", "cut", "longer", "zeros"))
    at = draw.randrange(size)
    if kind == "bit":
        changed[at] ^= 1 << draw.randrange(8)
    elif kind == "bytes":
        for _ in range(8):
            at = draw.randrange(size)
            changed[at : at + 8] = draw.randbytes(len(changed[at : at + 8]))
    elif kind == "block":
        changed[at : at + 4096] = draw.randbytes(len(changed[at : at + 4096]))
    elif kind == "exchange":
        one, two = sorted(draw.sample(range(max(2, size // 512)), 2))
        one, two = slice(512 * one, 512 * one + 512), slice(512 * two, 512 * two + 512)
        changed[one], changed[two] = changed[two], changed[one]
    elif kind == "cut":
        del changed[at:]
    elif kind == "longer":
        changed += draw.randbytes(draw.randrange(1, 5000))
    else:
        changed[at:] = bytes(size - at)
    return bytes(changed)


def use(scratch: Path, folder: Path, pipe) -> None:
    """Run every command on a folder; send how each ended, and the content at the end."""
    os.environ["OMP_NUM_THREADS"] = "1"
    said = io.StringIO()
    ends: list[str] = []
    out = folder / "results.h5"
    detector = next(scratch.glob("*.safetensors"))
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        if out.exists():
            commands = (
                ("report", out, "--out", folder / "report"),
                ("report", out, scratch / "whole" / "results.h5", "--out", folder / "both"),
                ("export", out, "--to", "npz", "--out", folder / "export"),
                ("verify", out, "--detector", detector),
            )
            ends += [f"{words[0]} {_code(*words)}" for words in commands]
        ends += [f"scan {_scan(options_of(scratch, folder))}" for _ in range(2)]
    lines = said.getvalue().splitlines()
    ends += ["long"] * (max(map(len, lines), default=0) > 2000 or len(lines) > 12)
    ends += ["traceback"] * ("Traceback" in said.getvalue())
    if "traceback" in ends:
        print(said.getvalue(), flush=True)
    pipe.send((ends, _content(out)))


def _code(*words: object) -> int:
    from medscan.cli import main

    sys.argv = ["medscan", *map(str, words)]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    except Exception:  # noqa: BLE001 - counted
        traceback.print_exc()
    return 0


def _scan(options) -> int | str:
    from medscan.errors import MedscanError
    from medscan.scanned import scan_and_report

    try:
        return 3 if scan_and_report(options).faults(strict=False) else 0
    except MedscanError as error:
        return f"{error.exit_code}: {type(error).__name__}"
    except Exception:  # noqa: BLE001 - counted
        traceback.print_exc()
        return "traceback"


def _content(path: Path):
    from tests.content import content

    return content(path) if path.exists() else {}


def main() -> int:
    from tests.processes import warm

    parser = argparse.ArgumentParser()
    parser.add_argument("--mutations", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=120)
    args = parser.parse_args()
    counts: Counter[str] = Counter(lost=0, hung=0, traceback=0)
    with tempfile.TemporaryDirectory() as made:
        scratch = Path(made)
        prepare(scratch)
        expected = _content(scratch / "whole" / "results.h5")
        for number in range(args.mutations):
            draw, folder = random.Random(f"{args.seed} {number}"), scratch / "copy"
            shutil.copytree(scratch / draw.choice(("whole", "whole", "parts")), folder)
            files = sorted(p for p in folder.rglob("*") if p.suffix in (".h5", ".ledger"))
            chosen = draw.choice(files)
            chosen.write_bytes(mutated(chosen.read_bytes(), draw))
            ours, theirs = warm().Pipe()
            process = warm().Process(target=use, args=(scratch, folder, theirs))
            process.start()
            theirs.close()
            ends, content = ["hung"], expected
            if ours.poll(args.seconds):
                with contextlib.suppress(EOFError):
                    ends = ["died"]
                    ends, content = ours.recv()
            process.kill()
            process.join()
            ends += ["lost"] * (content != expected)
            counts.update(ends)
            if {"hung", "died", "lost", "traceback", "long"} & {*ends}:
                print(f"{number}: {chosen.relative_to(folder)}: {', '.join(ends)}", flush=True)
            shutil.rmtree(folder)
    print(f"{args.mutations} mutations: {counts['lost']} lost, {counts['hung']} hung, "
          f"{counts['traceback']} with a traceback")  # fmt: skip
    print("; ".join(f"{count} x {end}" for end, count in sorted(counts.items())))
    return int(any(counts[bad] for bad in ("lost", "hung", "traceback", "died")))


if __name__ == "__main__":
    sys.exit(main())
