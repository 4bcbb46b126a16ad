"""Does any hostile detector or bundle end in a traceback, a hang or a socket, or leave a file?

Runs `scan` with detectors and `weights import` with bundles that `tests.hostile` makes from good
ones, and counts how they ended:

    python tests/benchmarks/hostile_detectors.py --count 500 --seed 1
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import signal
import socket
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from medscan.cli import main
from medscan.detector import Domain
from medscan.fitting import FitOptions, fit
from tests import hostile, tiny

LONGEST_S = 60
"""Seconds after which a command counts as hung."""
opened: list[str] = []
"""Sockets of the running command."""


class HungError(Exception):
    """A command did not end."""


def watch() -> None:
    """Note every socket but pairs, and end a command that hangs."""

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.__new__" and arguments[1] not in (-1, socket.AF_UNIX):
            opened.append(event)

    def hung(_number: int, _frame: FrameType | None) -> None:
        raise HungError

    sys.addaudithook(note)
    signal.signal(signal.SIGALRM, hung)


def run(words: list[str]) -> tuple[int, str]:
    """Exit status and standard error of a command; -1 for a traceback or a hang."""
    said = io.StringIO()
    sys.argv = ["medscan", *words]
    signal.alarm(LONGEST_S)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            main()
    except SystemExit as ended:
        return int(ended.code or 0), said.getvalue()
    except Exception:  # noqa: BLE001 - counting them is what this is for
        return -1, traceback.format_exc()
    finally:
        signal.alarm(0)
    return 0, said.getvalue()


def judge(code: int, said: str, left: list[str]) -> str:
    """How a command ended, in a word or two."""
    if code == -1:
        return "hung" if "HungError" in said else "traceback"
    if opened:
        return "socket"
    if code == 0:
        return "accepted"
    if code != 2 or len(said.splitlines()) != 1:
        return f"status {code} with {len(said.splitlines())} lines"
    return "left files" if left else "refused"


def good(folder: Path) -> tuple[Path, Path, Path]:
    """An archive, a detector for it, and the detector's backbone."""
    backbone = tiny.write_backbone(folder / "clip")
    options = FitOptions(
        method="mvfa",
        shots=4,
        backbone=f"local-dir:{backbone}",
        organ="Brain",
        domain=Domain("MR", "BRAIN", "FLAIR", "axial"),
        folds=2,
        settings={"epochs": 1, "bank_rows": 32},
    )
    detector, method = fit(tiny.write_pictures(folder / "pictures", 4), options)
    detector.save(folder / "good.safetensors", method)
    tiny.write_series(folder / "archive", tiny.head_volume(1, slices=2), study="1.2")
    return folder / "archive", folder / "good.safetensors", backbone


def commands(folder: Path, count: int, seed: int) -> Iterator[tuple[str, list[str], Path]]:
    """What was done to a file, the command that reads it, and where it would leave something."""
    archive, detector, backbone = good(folder)
    out = folder / "out"
    for done, path in hostile.detectors(detector, folder, count, seed):
        words = ["scan", str(archive), "--detector", str(path), "--out", str(out / "r.h5")]
        yield done, [*words, "--workers", "0"], out
        path.unlink()
    for done, path in hostile.bundles(backbone, folder, count, seed):
        yield done, ["weights", "import", str(path)], folder / "home"
        shutil.rmtree(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500, help="Detectors, and bundles.")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    ended: Counter[tuple[str, str]] = Counter()
    watch()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_DATA_HOME"] = str(Path(temporary) / "home")
        for done, words, out in commands(Path(temporary), args.count, args.seed):
            out.mkdir(exist_ok=True)
            opened.clear()
            code, said = run(words)
            how = judge(code, said, [str(p) for p in out.rglob("*") if p.is_file()])
            ended[words[0], how] += 1
            if how not in ("refused", "accepted"):
                print(f"{done}: {how}\n{said}")
            shutil.rmtree(out)
    for (command, how), number in sorted(ended.items()):
        print(f"{command:8} {how:12} {number}")
