"""A complete scan, compared with its model alone on the same slices in memory.

    python tests/benchmarks/end_to_end.py [--studies 132] [--workers 1] [--detector brain-flair]

Writes studies of generated heads of 24 slices as compressed DICOM (JPEG 2000, JPEG-LS and RLE in
turn, lossless). Then it times alternately a whole `medscan scan` of them (walk, index, decode,
score, results and worklist) into a new results file, and the model alone on slices that were
rendered beforehand: open_clip's `encode_image` with all cores on one batch, the same with a batch
per core in parallel, and backbone with method likewise. Prints slices a second of each, its best
turn, and the scan's ratio to the others. All use the same cores, which include those of the scan's
decode workers.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

# Heavy imports are inside the functions, because decode workers import this file too.

SYNTAXES = (JPEG2000Lossless, JPEGLSLossless, RLELossless)
HEADS = 6
"""Number of different heads; studies repeat them with other noise."""


def write_archive(folder: Path, studies: int) -> None:
    from medscan import demo

    heads = [folder / f"h{number}" for number in range(min(HEADS, studies))]
    for number, home in enumerate(heads):
        home.mkdir(parents=True)
        demo.write_series(demo.draw_head(number), home, f"head {number}")
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        list(pool.map(write_study, range(studies), [folder] * studies))
    for home in heads:
        shutil.rmtree(home)


def write_study(number: int, folder: Path) -> None:
    """A study of its own: one of the heads with other noise, compressed."""
    import pydicom

    rng = np.random.default_rng(number)
    home = folder / f"s{number:05d}"
    home.mkdir()
    for path in sorted((folder / f"h{number % HEADS}").iterdir()):
        header = pydicom.dcmread(path)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            header[keyword].value = f"{header[keyword].value[:50]}.{number + 1}"
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        noise = rng.integers(0, 8, header.pixel_array.shape, dtype=np.uint16)
        header.PixelData = (header.pixel_array + noise).tobytes()
        header.compress(SYNTAXES[number % 3], generate_instance_uid=False)
        header.save_as(home / path.name, enforce_file_format=True)


def run_scan(archive: Path, scratch: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Scan as a user would; return the summary and the seconds of the whole process."""
    for path in scratch.glob("results.*"):
        path.unlink()
    command = [sys.executable, "-m", "medscan", "scan", str(archive), "--detector", args.detector,
               "--out", str(scratch / "results.h5"), "--json", "--device", args.device,
               "--precision", args.precision, "--batch-size", str(args.batch),
               "--workers", str(args.workers)]  # fmt: skip
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout) | {"process_s": time.perf_counter() - started}


def images_of(archive: Path, size: int, window: str, most: int) -> NDArray[np.float32]:
    """Slices as the scan renders them, (N, 3, S, S)."""
    from medscan.archive import index
    from medscan.imaging import Slice, measure, render

    images: list[NDArray[np.float32]] = []
    for study in index([archive]).studies:
        (stack,) = study.series[0].stacks
        limits = measure(stack, window, "MR", 1 << 30)
        slices = render(stack, stack.frames, size, limits, 1 << 30)
        foreground = (s.image for s in slices if isinstance(s, Slice) and not s.background)
        images += [np.broadcast_to(image, (3, size, size)) for image in foreground]
        if len(images) >= most:
            break
    return np.stack(images[:most])


def rate_of(run: Callable[[Any], object], images: NDArray[np.float32], batch: int, lanes: int):
    """Slices a second of a model on whole batches, in `lanes` threads in parallel."""
    import torch

    parts = [torch.from_numpy(images[n : n + batch]) for n in range(0, len(images), batch)]
    parts = parts[: len(images) // batch]
    with torch.inference_mode():
        run(parts[0])
    with ThreadPoolExecutor(lanes) as pool:
        started = time.perf_counter()
        list(pool.map(torch.inference_mode()(run), parts))
        return len(parts) * batch / (time.perf_counter() - started)


def references(archive: Path, args: argparse.Namespace) -> dict[str, float]:
    """Slices a second of the scan's model alone, on slices in memory."""
    import torch

    from medscan import detector as detectors
    from medscan.clip.device import choose_device

    path = detectors.find(Path(args.detector))
    detector = detectors.read(path)
    device = choose_device(args.device)
    backbone = detector.load_backbone(device=device, precision=args.precision)
    method = detector.load_method(path, backbone)
    images = images_of(archive, backbone.size, detector.window, args.sample)

    def encode(part):
        part = backbone.normalise(part.to(backbone.device)).to(backbone.dtype)
        return backbone.model.encode_image(part).float().cpu()

    def predict(part):
        return [output.cpu() for output in method.predict(part)]

    threads = torch.get_num_threads()
    rates = {"encode_image": rate_of(encode, images, args.batch, 1)}
    lanes = threads if device == "cpu" else 1
    if device == "cpu":
        torch.set_num_threads(1)
    rates["encode_image, a thread per core"] = rate_of(encode, images, args.batch, lanes)
    rates["backbone and method, a thread per core"] = rate_of(predict, images, args.batch, lanes)
    torch.set_num_threads(threads)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare a scan with its model alone.")
    parser.add_argument("--studies", type=int, default=132)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sample", type=int, default=480, help="slices for the model alone")
    parser.add_argument("--detector", default="brain-flair")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument(
        "--archive", type=Path, help="folder of the studies; used again if it exists"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        archive = args.archive or Path(name) / "archive"
        if not archive.exists():
            write_archive(archive, args.studies)
        alone: dict[str, list[float]] = defaultdict(list)
        scans = []
        for turn in range(args.turns + 1):  # the model alone before and after each scan
            for what, rate in references(archive, args).items():
                alone[what].append(rate)
            if turn < args.turns:
                scans.append(run_scan(archive, Path(name), args))
    report(alone, scans, args)


def report(alone, scans, args) -> None:
    slices = scans[0]["slices"]
    print(f"{slices} slices of {args.studies} studies, --workers {args.workers}")
    best = {what: max(rates) for what, rates in alone.items()}
    for what, rate in best.items():
        print(f"{what}, in memory: {rate:.1f} slices/s")
    for what, key in (("scan", "seconds"), ("scan with the start of its process", "process_s")):
        rate = slices / min(scan[key] for scan in scans)
        ratios = ", ".join(f"{rate / reference:.3f} of {name}" for name, reference in best.items())
        print(f"{what}: {rate:.1f} slices/s: {ratios}")
    print(json.dumps(scans[-1]["profile"]))
    print(json.dumps(scans[-1]["stages"]))


if __name__ == "__main__":
    main()
