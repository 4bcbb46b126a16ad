"""Everything that only a GPU shows, in under six minutes on a machine with PyTorch.

    python tests/benchmarks/gpu.py [--device cuda] [--backbone ViT-L-14-336] [--studies 528]
        [--workers 14] [--only NAME ...] [--precision fp32 bf16 fp16]

Sections, in order; each prints its figures, or how it failed, and the next one runs all the same:

agreement   scores and maps of every method at each precision against CPU fp32 on slices of heads,
            with random parameters on medscan-mini; and whether a slice's bytes depend on its batch
rates       the tower alone at batches of several sizes: slices a second, and its share of the rate
            at which this card multiplies square matrices of 8,192 rows at that precision; memory
memory      a real lack of memory: the batch is halved and nothing is lost; and one line where not
            even one slice fits
lost        a scan whose GPU fails in the middle ends in one line, and the next one scans the rest
fits        every method fitted on the GPU by `medscan fit`
scans       `medscan scan` of generated heads against the model alone (end_to_end.py), and the flags
            and scores of a scan on the GPU against one on the CPU
graphs      CUDA graphs and torch.compile against plain calls

An architecture that is no bundle gets random weights. Without a GPU (`--device cpu`) the sections
that need one are left out. The exit status is 1 if any section failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

# Heavy imports are inside the functions, because decode workers import this file too.

LOST = """\
import sys
import torch
from medscan.cli import main
from medscan.scoring.scorer import Scorer

def fail(self, batch, real=Scorer._predict_on_gpu, calls=[]):
    calls.append(1)
    if len(calls) == 3:  # an assertion in a kernel: the process can use the GPU no more
        torch.zeros(1, device="cuda")[torch.full((1,), 1 << 40, device="cuda")]
    return real(self, batch)

if __name__ == "__main__":
    Scorer._predict_on_gpu = fail
    main()
"""


def medscan(*words: object, check: bool = True, program: Path | None = None):
    """Run `medscan` as a user would, or a program that ends in its main function."""
    python = [sys.executable, str(program)] if program else [sys.executable, "-m", "medscan"]
    return subprocess.run(
        [*python, *map(str, words)], check=check, capture_output=True, text=True, env=environment()
    )


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "COLUMNS": "200"}


def lost(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        program, out = Path(name) / "lost.py", Path(name) / "night.h5"
        program.write_text(LOST)
        words = ("scan", args.archive, "--detector", "brain-flair", "--out", out, "--json",
                 "--device", args.device, "--workers", 4)  # fmt: skip
        failed = medscan(*words, check=False, program=program)
        print(f"GPU lost: exit {failed.returncode}: {failed.stderr.strip()[-300:]}")
        assert failed.returncode == 1, "expected exit 1"
        assert "Traceback" not in failed.stderr, "a traceback"
        before = json.loads(failed.stdout)["scanned"] if failed.stdout else 0
        done = json.loads(medscan(*words).stdout)
        print(f"before: {before} studies; the next scan: {done['scanned']}, {done['left']} left")
        assert before + done["scanned"] == args.studies, "a study is missing"


def fits(args: argparse.Namespace) -> None:
    from medscan.methods import METHODS
    from tests import tiny

    with tempfile.TemporaryDirectory() as name:
        pictures = tiny.write_pictures(Path(name) / "pictures")
        started = time.perf_counter()
        running = {
            method: subprocess.Popen(
                [sys.executable, "-m", "medscan", "fit", str(pictures), "--shots", "4",
                 "--method", method, "--folds", "2", "--device", args.device,
                 *(() if method in ("patchcore", "clip") else ("--set", "epochs=2")),
                 "--out", f"{name}/{method}.safetensors"],
                env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for method in METHODS
        }  # fmt: skip
        wrong = {}
        for method, process in running.items():
            said = process.communicate()[0]
            if process.returncode or not (Path(name) / f"{method}.safetensors").exists():
                wrong[method] = said[-600:]
        print(
            f"fitted {len(running) - len(wrong)} methods in {time.perf_counter() - started:.0f} s"
        )
        assert not wrong, wrong


def scans(args: argparse.Namespace) -> None:
    from medscan import results

    with tempfile.TemporaryDirectory() as name:
        found = {}
        for device in ("cpu", args.device):
            out = Path(name) / f"{device}.h5"
            medscan("scan", args.few, "--detector", "brain-flair", "--device", device, "--out", out)
            found[device] = {s.key: s for s in results.open(out).studies(arrays=False)}
        pairs = [(found["cpu"][key], study) for key, study in found[args.device].items()]
        off = max(abs(a.score - b.score) for a, b in pairs)
        flags = sum(a.flagged != b.flagged for a, b in pairs)
        print(f"{len(pairs)} studies on CPU and GPU: scores differ by {off:.1e}, {flags} flags")
        assert flags == 0, "flags differ"
    for precision in args.precision[:2]:
        done = subprocess.run(
            [sys.executable, Path(__file__).with_name("end_to_end.py"), "--archive", args.archive,
             "--studies", str(args.studies), "--device", args.device, "--workers",
             str(args.workers), "--batch", str(args.scan_batch), "--sample", "1024",
             "--precision", precision, "--turns", "2"],
            env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        print(
            f"{precision}: {done.stdout}{done.stderr[-600:] if done.returncode else ''}", flush=True
        )
        assert done.returncode == 0, "end_to_end.py failed"


SECTIONS = ("agreement", "rates", "memory", "lost", "fits", "scans", "graphs")
HERE = {"lost": lost, "fits": fits, "scans": scans}
NEED_GPU = {"memory", "lost", "graphs"}


def describe(device: str) -> None:
    import torch

    print(f"PyTorch {torch.__version__}, {os.cpu_count()} cores")
    if device != "cpu":
        card = torch.cuda.get_device_properties(device)
        print(f"{card.name}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure medscan on a GPU.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--backbone", default="ViT-L-14-336")
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16", "fp16"])
    parser.add_argument("--batches", nargs="+", type=int, default=[16, 64, 256])
    parser.add_argument("--scan-batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--square", type=int, default=8192)
    parser.add_argument("--studies", type=int, default=528)
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    args = parser.parse_args()
    describe(args.device)
    failed = []
    with tempfile.TemporaryDirectory() as name:
        from tests.benchmarks import gpu_model
        from tests.benchmarks.end_to_end import write_archive

        args.archive, args.few = Path(name) / "archive", Path(name) / "few"
        write_archive(args.archive, args.studies)
        write_archive(args.few, min(12, args.studies))
        for section in args.only:
            if args.device == "cpu" and section in NEED_GPU:
                print(f"--- {section}: needs a GPU")
                continue
            print(f"--- {section}", flush=True)
            started = time.perf_counter()
            try:
                (HERE.get(section) or getattr(gpu_model, section))(args)
            except Exception:  # noqa: BLE001 (the other sections still have something to say)
                failed.append(section)
                traceback.print_exc(file=sys.stdout)
            print(f"    {time.perf_counter() - started:.0f} s", flush=True)
    print("failed: " + ", ".join(failed) if failed else "all sections passed")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
