"""OpenVINO: the properties that a graph is compiled with, and what it leaves behind."""

import ctypes
import gc
import subprocess
import sys
import threading
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
import torch

from medscan import clip, detector
from medscan.choices import Precision, RuntimeName
from medscan.profile import Clock
from medscan.runtimes import Loader, OpenVinoModel, openvino
from medscan.runtimes.graphs import graph_of, make
from tests.methods.test_position import learnt
from tests.runtimes import needs_bf16

PRECISIONS = pytest.mark.parametrize(
    "precision", [Precision.FP32, pytest.param(Precision.BF16, marks=needs_bf16)]
)


@pytest.fixture
def method(detector_file, backbone):
    return detector.read(detector_file).load_method(detector_file, backbone)


@pytest.fixture
def graph(detector_file, method, kept_graphs):
    return graph_of(detector.read(detector_file), lambda: method)


def scored(model, images):
    return model.run(images, Clock()).wait(Clock())


def test_scores_and_maps_are_those_of_pytorch(graph, method):
    images = np.random.default_rng(1).random((5, 3, 64, 64), np.float32)
    ours = scored(OpenVinoModel(graph, Precision.FP32, 1), images)
    for a, b in zip(ours, method.predict(torch.from_numpy(images)), strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-5, atol=1e-5)


def test_tiles_are_rows_of_one_tower_that_round_alike(backbone_folder):
    tower = clip.load(f"local-dir:{backbone_folder}", tiles=2)
    method = learnt("patchcore", tower)
    graph = make(method)
    assert (graph.square.size, graph.square.grid, graph.square.tile) == (112, 7, 64)
    images = np.random.default_rng(1).random((5, 3, 112, 112), np.float32)
    model = OpenVinoModel(graph, Precision.FP32, 1)
    ours = scored(model, images)
    for a, b in zip(ours, method.predict(torch.from_numpy(images)), strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-5, atol=1e-5)
    for a, b in zip(scored(model, np.roll(images, 2, 0)), ours, strict=True):
        assert a.tobytes() == np.roll(b, 2, 0).tobytes()


def test_an_operation_that_openvino_does_not_know_is_an_error_that_is_caught(monkeypatch, tmp_path):
    library = openvino.library()

    def refuse(_program):
        raise library.frontend.OpConversionFailure("avg_pool2d do not support divisor_override")

    monkeypatch.setattr(library, "convert_model", refuse)
    with pytest.raises(RuntimeError, match="divisor_override"):
        openvino.convert(None, tmp_path / "graph.xml")


class SignalStack(ctypes.Structure):
    """`stack_t` of sigaltstack(2)."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_signals_have_a_stack_that_is_there_once_models_are_gone(graph):
    models = [OpenVinoModel(graph, Precision.FP32, 1) for _ in range(2)]
    while models:  # the first one first
        del models[0]
        gc.collect()
    found = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)) == 0
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines]
    assert not found.start or any(low <= found.start < high for low, high in spans)


@pytest.mark.parametrize("lanes", [1, 2])
def test_threads_are_one_a_lane_and_not_pinned(graph, lanes):
    model = OpenVinoModel(graph, Precision.FP32, lanes)
    assert model.property("NUM_STREAMS") == lanes
    assert model.property("INFERENCE_NUM_THREADS") == lanes
    assert model.property("ENABLE_CPU_PINNING") is False


def test_single_precision_is_single_precision_also_where_the_cpu_has_bfloat16(graph):
    assert OpenVinoModel(graph, Precision.FP32, 1).property("INFERENCE_PRECISION_HINT").is_real()
    name = OpenVinoModel(graph, Precision.FP32, 1).property("INFERENCE_PRECISION_HINT")
    assert name.get_type_name() == "f32"


@needs_bf16
def test_bfloat16_is_bfloat16(graph):
    images = np.random.default_rng(1).random((5, 3, 64, 64), np.float32)
    low, full = (OpenVinoModel(graph, p, 1) for p in (Precision.BF16, Precision.FP32))
    assert low.property("INFERENCE_PRECISION_HINT").get_type_name() == "bf16"
    difference = np.abs(scored(low, images)[0] - scored(full, images)[0]).max()
    assert 1e-6 < difference < 0.1


@PRECISIONS
def test_a_batch_may_have_any_size_and_rounds_the_same(graph, precision):
    images = np.random.default_rng(2).random((9, 3, 64, 64), np.float32)
    model = OpenVinoModel(graph, precision, 1)
    together = scored(model, images)
    for n in range(9):
        for whole, alone in zip(together, scored(model, images[n : n + 1]), strict=True):
            assert whole[n].tobytes() == alone[0].tobytes()


@PRECISIONS
def test_batches_side_by_side_do_not_mix(graph, precision):
    images = np.random.default_rng(3).random((8, 4, 3, 64, 64), np.float32)
    model = OpenVinoModel(graph, precision, 2)
    alone = [scored(model, batch)[0].tolist() for batch in images]
    found = [None] * 8

    def run(n):
        found[n] = scored(model, images[n])[0].tolist()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone


def test_a_batch_that_nobody_waits_for_ends(graph, monkeypatch):
    def abandoned():
        raise CancelledError

    monkeypatch.setattr(openvino, "STEP_MS", 1)
    model = OpenVinoModel(graph, Precision.FP32, 1)
    model.interrupt_by(abandoned)
    with pytest.raises(CancelledError):
        model.run(model.empty(512), Clock())
    model.interrupt_by(lambda: None)
    assert np.isfinite(scored(model, model.empty(2))[0]).all()


LOAD = """
import sys
from pathlib import Path
from medscan import clip, detector
from medscan.choices import Precision, RuntimeName
from medscan.runtimes import Loader
path = Path(sys.argv[1])
Loader(RuntimeName.OPENVINO, "cpu", 1).load(path, detector.read(path), Precision.FP32)
print(sorted(n for n in ("openvino", "openvino_telemetry", "torch") if sys.modules.get(n)))
"""


def test_a_kept_graph_needs_no_pytorch_and_nothing_is_reported(
    graph, kept_graphs, detector_file, tmp_path, environment
):
    """OpenVINO's reports leave an identity in the home folder before they open a socket."""
    home = environment | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(kept_graphs.parents[1])}
    command = [sys.executable, "-W", "ignore", "-c", LOAD, str(detector_file)]
    done = subprocess.run(command, env=home, check=True, capture_output=True, text=True)
    assert done.stdout == "['openvino']\n"
    assert list(tmp_path.rglob("*")) == []


def test_nothing_is_reported_of_a_conversion(graph):
    assert "openvino.tools.ovc" in sys.modules
    assert sys.modules["openvino_telemetry"] is None


def test_what_cannot_be_converted_is_computed_by_pytorch_and_says_so(
    detector_file, tmp_path, monkeypatch, caplog, capfd
):
    def depends_on_values(self, levels):
        score = levels.det[0].mean((1, 2))
        return (score if score.sum() > 0 else -score), levels.det[0]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MEDSCAN_RUNTIME")
    monkeypatch.setattr("medscan.methods.mvfa.Mvfa.score", depends_on_values)
    found = detector.read(detector_file)
    model = Loader(RuntimeName.AUTO, "cpu", 1).load(detector_file, found, Precision.FP32)
    assert model.computed.runtime is RuntimeName.TORCH
    (said,) = (r.getMessage() for r in caplog.records if r.name == "medscan.scan")
    assert said.startswith("detector tiny-flair is computed by PyTorch: method mvfa cannot be conv")
    assert "\n" not in said
    shown, errors = capfd.readouterr()
    assert shown == ""
    assert errors in ("", f"medscan: {said}\n")  # as a command says it, where one ran before
