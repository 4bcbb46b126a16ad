import gc
import threading
import weakref

import numpy as np
import pytest
import torch

from medscan import detector
from medscan.errors import DeviceError, MedscanError
from medscan.runtimes import TorchModel
from medscan.scoring import loaded_scorers
from medscan.scoring.lanes import Lanes
from medscan.scoring.scorer import Scorer


@pytest.fixture
def method(detector_file, backbone):
    return detector.read(detector_file).load_method(detector_file, backbone)


@pytest.fixture
def scorer_of(detector_file, method):
    """Makes a scorer of a batch size, on one lane."""
    with Lanes("cpu") as lanes:
        yield lambda batch: Scorer(detector.read(detector_file), TorchModel(method), batch, lanes)


def test_slices_come_back_in_order_with_their_tags(scorer_of, method):
    scorer = scorer_of(4)
    rng = np.random.default_rng(0)
    images = [rng.random((1 if n % 2 else 3, 64, 64), np.float32) for n in range(6)]
    found = [s for n, image in enumerate(images) for s in scorer.add(n, image)]
    found += scorer.flush()
    assert [s.tag for s in found] == list(range(6))
    grey = torch.from_numpy(np.repeat(images[5], 3, 0)[None])
    assert found[5].score == pytest.approx(float(method.predict(grey)[0]), abs=1e-5)


def test_memory_that_runs_out_halves_the_batch_and_loses_nothing(scorer_of, method, monkeypatch):
    real, shapes = method.prepare, []

    def small(images):
        if len(images) > 2:
            raise torch.cuda.OutOfMemoryError("full")
        shapes.append(len(images))
        return real(images)

    monkeypatch.setattr(method, "prepare", small)
    scorer = scorer_of(8)
    for n in range(5):
        list(scorer.add(n, np.full((1, 64, 64), n / 5, np.float32)))
    assert [s.tag for s in scorer.flush()] == list(range(5))
    assert shapes == [2, 2, 2]


def test_what_memory_ran_out_with_is_free_before_it_is_tried_again(scorer_of, method, monkeypatch):
    real, held, free = method.prepare, [], []
    both = threading.Event()

    def small(images):
        both.wait(60)  # batches may fail one after another before the first is taken
        if len(images) > 1:
            large = images + 1
            held.append(weakref.ref(large))
            raise torch.cuda.OutOfMemoryError("full")
        free.append([ref() is None for ref in held])
        return real(images)

    monkeypatch.setattr(method, "prepare", small)
    scorer = scorer_of(2)
    gc.disable()
    try:
        scored = []
        for n in range(5):
            if n == 4:  # two batches are submitted
                both.set()
            scored += scorer.add(n, np.full((1, 64, 64), n / 5, np.float32))
        scored += scorer.flush()
        assert len(scored) == 5
    finally:
        gc.enable()
    assert len(held) >= 2
    assert len(free) == 5
    assert all(map(all, free))


@pytest.mark.parametrize(
    "message", ["CUDA error: out of memory", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"]
)
def test_a_full_gpu_is_not_a_lost_one(scorer_of, method, monkeypatch, message):
    real = method.prepare

    def small(images):
        if len(images) > 1:
            raise RuntimeError(message)
        return real(images)

    monkeypatch.setattr(method, "prepare", small)
    scorer = scorer_of(2)
    list(scorer.add(0, np.zeros((1, 64, 64), np.float32)))
    assert [s.tag for s in scorer.flush()] == [0]


def test_a_gpu_that_is_lost_while_a_batch_is_filled_is_one_line(scorer_of, monkeypatch):
    def lost(*_args, **_options):
        raise RuntimeError("CUDA error: unspecified launch failure\nmore")

    scorer = scorer_of(2)
    monkeypatch.setattr(torch, "zeros", lost)
    with pytest.raises(DeviceError, match="the GPU is lost"):
        list(scorer.add(0, np.zeros((1, 64, 64), np.float32)))


def test_memory_too_small_for_one_slice_is_one_line(scorer_of, method, monkeypatch):
    def full(_images):
        raise torch.cuda.OutOfMemoryError("full")

    monkeypatch.setattr(method, "prepare", full)
    scorer = scorer_of(2)
    list(scorer.add(0, np.zeros((1, 64, 64), np.float32)))
    with pytest.raises(MedscanError, match="use --device cpu"):
        list(scorer.flush())


def test_memory_of_the_cpu_that_runs_out_is_one_line(scorer_of, method, monkeypatch):
    def full(_images):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")

    monkeypatch.setattr(method, "prepare", full)
    scorer = scorer_of(1)
    with pytest.raises(DeviceError, match="memory is too small"):
        list([*scorer.add(0, np.zeros((1, 64, 64), np.float32)), *scorer.flush()])


def test_no_room_for_the_model_is_one_line_and_a_mistake_is_none(options, monkeypatch):
    def fail(error):
        def load(*_args, **_kwargs):
            raise error

        monkeypatch.setattr(detector.Detector, "load_backbone", load)

    fail(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate"))
    with pytest.raises(DeviceError, match="memory is too small"):
        loaded_scorers(options.inputs.detectors, options.compute).__enter__()
    fail(RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        loaded_scorers(options.inputs.detectors, options.compute).__enter__()


def test_slices_with_the_same_pixels_are_scored_once(scorer_of, method, monkeypatch):
    real, batches = method.prepare, []

    def counted(images):
        batches.append(len(images))
        return real(images)

    monkeypatch.setattr(method, "prepare", counted)
    scorer, rng = scorer_of(2), np.random.default_rng(0)
    first, second = rng.random((2, 1, 64, 64), np.float32)
    found = [*scorer.add(0, first), *scorer.add(1, first), *scorer.add(2, second)]
    found += scorer.flush()
    found += scorer.add(3, first.copy())  # long after the batch
    found += scorer.add(4, np.repeat(first, 3, 0))  # in colour, and so another one
    assert batches == [2]
    assert scorer.repeated == 2
    by_tag = {s.tag: s for s in [*found, *scorer.flush()]}
    assert sorted(by_tag) == [0, 1, 2, 3, 4]
    for copy in (1, 3, 4):
        assert by_tag[copy].score == by_tag[0].score
        assert by_tag[copy].heatmap.tobytes() == by_tag[0].heatmap.tobytes()
    assert by_tag[2].score != by_tag[0].score


def test_only_so_many_scores_are_kept(scorer_of, monkeypatch):
    monkeypatch.setattr("medscan.scoring.scorer.KEPT_SCORES", 2)
    scorer = scorer_of(1)
    images = [np.full((1, 64, 64), n / 4, np.float32) for n in range(4)]
    found = [s.tag for n, image in enumerate(images) for s in scorer.add(n, image)]
    found += [s.tag for s in scorer.flush()]
    found += [s.tag for n in (3, 0) for s in scorer.add(n, images[n])]
    assert scorer.repeated == 1
    assert sorted([*found, *(s.tag for s in scorer.flush())]) == [0, 0, 1, 2, 3, 3]
