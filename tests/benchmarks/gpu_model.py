"""The sections of gpu.py that compute in its own process: agreement, rates, memory, graphs."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch.utils.flop_counter import FlopCounterMode

from medscan import clip, detector
from medscan.errors import DeviceError
from medscan.methods import METHODS, build
from medscan.options import Compute
from medscan.scoring import loaded_scorers
from medscan.scoring.memory import tower_of
from tests.benchmarks.end_to_end import images_of
from tests.benchmarks.model_speed import DTYPES, folder_of, method_of

TOLERANCE = {"fp32": 2e-3, "bf16": 0.2, "fp16": 0.05}
"""Largest difference of a score from CPU fp32 that passes."""


def seconds_of(run: Callable[[], object], device: str, turns: int = 5) -> float:
    """Seconds of the best of several calls, after one that is not counted."""

    def call() -> float:
        started = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    call()
    return min(call() for _ in range(turns))


def heads(folder: Path, count: int, size: int) -> Any:
    """Slices (count, 3, size, size) of generated heads, as a scan draws them."""
    return torch.from_numpy(images_of(folder, size, "auto", count))


def agreement(args: argparse.Namespace) -> None:
    images = heads(args.archive, args.images, clip.load(clip.DEFAULT).size)
    expected = {n: method_of(n, clip.load(clip.DEFAULT)).predict(images) for n in METHODS}
    worst: dict[str, float] = dict.fromkeys(args.precision, 0.0)
    for precision in args.precision:
        backbone = clip.load(clip.DEFAULT, device=args.device, precision=precision)
        for name, (score, grid) in expected.items():
            method = method_of(name, clip.load(clip.DEFAULT))
            moved = same_parameters(method, name, backbone)
            found, drawn = (t.cpu() for t in moved.predict(images))
            order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
            again, redrawn = (t.cpu() for t in moved.predict(images[order]))
            same = torch.equal(again, found[order]) and torch.equal(redrawn, drawn[order])
            off = float((found - score).abs().max())
            print(
                f"{name}, {precision}: scores differ from CPU fp32 by at most {off:.1e} "
                f"(of {float(score.std()):.1e} deviation), maps by "
                f"{float((drawn - grid).abs().max()):.1e}, "
                f"Spearman {spearmanr(found, score).statistic:.4f}; "
                f"bytes {'do not depend' if same else 'DEPEND'} on the place in the batch",
                flush=True,
            )
            worst[precision] = max(worst[precision], off / max(1.0, float(score.abs().max())))
    for precision, off in worst.items():
        assert off < TOLERANCE[precision], f"{precision} differs by {off:.1e}"


def same_parameters(method: Any, name: str, backbone: Any) -> Any:
    """The same method, parameters and memory on another backbone's device."""
    moved = build(name, backbone, "Brain", method.settings, masked=True)
    for key, value in method.state_dict().items():
        owner, _, leaf = key.rpartition(".")
        part = moved.get_submodule(owner)
        if leaf in part._buffers:
            part._buffers[leaf] = value.to(backbone.device)
        else:
            part.get_parameter(leaf).data = value.to(backbone.device)
    return moved.to(backbone.device).eval().requires_grad_(False)


def rates(args: argparse.Namespace) -> None:
    products = {}
    for precision in args.precision:
        square = torch.randn(args.square, args.square, device=args.device, dtype=DTYPES[precision])
        rate = 2 * args.square**3 / seconds_of(partial(torch.matmul, square, square), args.device)
        products[precision] = rate
        print(f"{precision}: products of {args.square} rows, {rate / 1e12:.1f} Tflop/s")
    for name in (clip.DEFAULT, args.backbone):
        with folder_of(name) as folder, torch.inference_mode():
            tower = tower_of(clip.find(f"local-dir:{folder}"))
            for precision in args.precision:
                source = f"local-dir:{folder}"
                backbone = clip.load(source, device=args.device, precision=precision)
                print(f"{name}, {precision}: {of_tower(backbone, products[precision], args)}")
                print(f"  estimated {tower.slice_bytes / 2**20:.1f} MiB a slice", flush=True)


def of_tower(backbone: clip.Backbone, products: float, args: argparse.Namespace) -> str:
    """Rates and memory of a tower at each batch size."""
    size = (3, backbone.size, backbone.size)
    with FlopCounterMode(display=False) as counter:
        backbone.features(torch.zeros(1, *size, device=args.device), backbone.taps())
    said = []
    for batch in args.batches:
        images = torch.rand(batch, *size, device=args.device)
        run = partial(backbone.features, images, backbone.taps())
        rate = batch / seconds_of(run, args.device, 3)
        share = 100 * rate * counter.get_total_flops() / products
        each = "" if args.device == "cpu" else f", {peak_of(run) / batch / 2**20:.1f} MiB a slice"
        said.append(f"batch {batch} {rate:.1f} slices/s, {share:.0f} % of the products' rate{each}")
    return "; ".join(said)


def peak_of(run: Callable[[], object]) -> int:
    """Bytes of the GPU that a call needs beside what is there."""
    torch.cuda.synchronize()
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - held


def scorers(args: argparse.Namespace, batch: int):
    path = detector.find(Path("brain-flair"))
    compute = Compute(device=args.device, batch_size=batch)
    return loaded_scorers([(path, detector.read(path))], compute)


def scores_of(scorer: Any, images: Any) -> list[tuple[float, bytes]]:
    found = [s for n, image in enumerate(images) for s in scorer.add(n, image)]
    found += scorer.flush()
    assert [s.tag for s in found] == list(range(len(images)))
    return [(s.score, s.heatmap.tobytes()) for s in found]


def memory(args: argparse.Namespace) -> None:
    with scorers(args, 256) as loaded:
        (scorer,) = loaded.values()
        images = heads(args.archive, args.images, scorer.model.square.size).numpy()
        images = images[[n % len(images) for n in range(1000)]]
        batch = torch.from_numpy(images[:256])
        need = peak_of(lambda: scorer.model.method.predict(batch))
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        print(f"brain-flair: 256 slices need {need / 2**20:.0f} MiB of {total / 2**20:.0f}")
        blocker = torch.empty(int(free - 0.45 * need), dtype=torch.uint8, device=args.device)
        found = scores_of(scorer, images)
        reduced = scorer.batch_size
        del blocker
        torch.cuda.empty_cache()
    with scorers(args, reduced) as loaded:
        (scorer,) = loaded.values()
        assert scores_of(scorer, images) == found, "scores differ from a run at the reduced size"
        print(
            f"memory full: batches of 256 became {reduced}, all {len(found)} scores as at that size"
        )
        torch.cuda.empty_cache()
        blocker = torch.empty(
            torch.cuda.mem_get_info()[0] - 2**22, dtype=torch.uint8, device="cuda"
        )
        try:
            scores_of(scorer, images[:reduced])
        except DeviceError as error:
            print(f"not even one slice: {error}")
        else:
            raise AssertionError("one slice fitted into no memory")
        finally:
            del blocker
            torch.cuda.empty_cache()


def graphs(args: argparse.Namespace) -> None:
    for name, precision in (
        (clip.DEFAULT, "fp32"),
        (clip.DEFAULT, "bf16"),
        (args.backbone, "bf16"),
    ):
        with folder_of(name) as folder:
            source = f"local-dir:{folder}"
            backbone = clip.load(source, device=args.device, precision=precision)
            moved = same_parameters(method_of("madclip", clip.load(source)), "madclip", backbone)
        images = torch.rand(args.scan_batch, 3, backbone.size, backbone.size, device=args.device)
        plain = seconds_of(lambda m=moved, i=images: m.predict(i), args.device)
        print(f"{name}, {precision}, madclip: {len(images) / plain:.0f} slices/s", flush=True)
        quick = seconds_of(captured(moved, images).replay, args.device)
        print(f"  as a CUDA graph {plain / quick:.2f} times", flush=True)
        if name == clip.DEFAULT:
            run = torch.compile(lambda i, m=moved: m.score(m(m.prepare(i))))
            with torch.no_grad():
                quick = seconds_of(lambda r=run, i=images: r(i), args.device)
            print(f"  compiled {plain / quick:.2f} times", flush=True)


def captured(method: Any, images: Any):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        method.predict(images)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        method.predict(images)
    return graph
