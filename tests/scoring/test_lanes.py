"""Batches side by side: the same scores on any number of cores, and nothing left behind."""

import ctypes
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from medscan import detector
from medscan.choices import Precision, RuntimeName
from medscan.runtimes import Loader
from medscan.scoring.lanes import Lanes
from medscan.scoring.scorer import Scorer
from tests.runtimes import needs_bf16

WAYS = [
    (RuntimeName.TORCH, Precision.FP32),
    (RuntimeName.TORCH, Precision.BF16),
    (RuntimeName.OPENVINO, Precision.FP32),
    pytest.param(RuntimeName.OPENVINO, Precision.BF16, marks=needs_bf16),
]
"""Runtimes and precisions that a CPU scores in."""


@pytest.fixture
def cores():
    """Sets the threads of PyTorch, as a machine with so many cores would."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def scores_on(detector_file, images, runtime, precision):
    found = detector.read(detector_file)
    with Lanes("cpu") as lanes:
        model = Loader(runtime, "cpu", lanes.count).load(detector_file, found, precision)
        assert model.computed == (precision, runtime)
        scorer = Scorer(found, model, 4, lanes)
        scored = [s for n, image in enumerate(images) for s in scorer.add(n, image)]
        return [*scored, *scorer.flush()]


@pytest.mark.parametrize(("runtime", "precision"), WAYS)
def test_scores_are_the_same_bytes_on_any_number_of_cores(
    runtime, precision, detector_file, cores, kept_graphs
):
    images = np.random.default_rng(0).random((30, 1, 64, 64), np.float32)
    found = []
    for count in (1, 3):
        cores(count)
        found.append(scores_on(detector_file, images, runtime, precision))
    one, three = found
    assert [s.tag for s in three] == list(range(30))
    assert [s.score for s in one] == [s.score for s in three]
    assert all(np.array_equal(a.heatmap, b.heatmap) for a, b in zip(one, three, strict=True))


@pytest.mark.parametrize(("runtime", "precision"), WAYS)
def test_scores_are_the_same_bytes_beside_any_other_slices(
    runtime, precision, detector_file, cores, kept_graphs
):
    cores(2)
    images = np.random.default_rng(0).random((7, 1, 64, 64), np.float32)
    others = np.ones((3, 1, 64, 64), np.float32)
    alone = scores_on(detector_file, images, runtime, precision)
    beside = scores_on(detector_file, [*others, *images[::-1]], runtime, precision)[:2:-1]
    assert [s.score for s in alone] == [s.score for s in beside]
    assert all(np.array_equal(a.heatmap, b.heatmap) for a, b in zip(alone, beside, strict=True))


def test_lanes_leave_threads_as_they_were(cores):
    cores(2)
    running = threading.active_count()
    with Lanes("cpu") as lanes:
        assert lanes.count == 2
        assert torch.get_num_threads() == 1
        gate = threading.Barrier(3)  # both lanes are inside at once, or this never ends
        futures = [lanes.submit(lambda: gate.wait(60)) for _ in range(2)]
        gate.wait(60)
        assert {future.result(60) for future in futures} < {0, 1, 2}
    assert torch.get_num_threads() == 2
    assert threading.active_count() == running


def test_a_lane_has_one_thread_from_the_first_product_on(cores):
    """oneDNN asks OpenMP, which counts for each thread by itself."""
    maps = Path("/proc/self/maps")
    # Other libraries bring copies of their own.
    found = re.search(r"/\S*/torch/\S*lib[gi]omp\S*", maps.read_text() if maps.exists() else "")
    if found is None:
        pytest.skip("PyTorch's threads are not OpenMP's")
    cores(2)
    with Lanes("cpu") as lanes:
        gate = threading.Barrier(2)
        count = ctypes.CDLL(found[0]).omp_get_max_threads
        futures = [lanes.submit(lambda: gate.wait(60) * 0 + count()) for _ in range(2)]
        assert [future.result(60) for future in futures] == [1, 1]


def test_a_gpu_has_one_lane(cores):
    cores(2)
    with Lanes("cuda:0") as lanes:
        assert lanes.count == 1
        assert torch.get_num_threads() == 2


def test_what_waits_is_dropped_when_a_scan_ends(cores):
    cores(1)
    started, gate = threading.Event(), threading.Event()
    with Lanes("cpu") as lanes:
        first = lanes.submit(lambda: started.set() or gate.wait(60))
        waiting = [lanes.submit(int) for _ in range(3)]
        started.wait(60)
        threading.Timer(0.2, gate.set).start()
    assert first.result(0)
    assert all(future.cancelled() for future in waiting)
