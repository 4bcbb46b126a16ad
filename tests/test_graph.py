"""Detectors as ONNX graphs."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch

from medscan import detector, graph, runtimes
from medscan.errors import ExportError, UsageError
from medscan.fitting import FitOptions, fit
from medscan.methods import METHODS, settings_of
from tests import tiny

onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra medscan[onnx]")
pytest.importorskip("onnxscript", reason="needs the extra medscan[onnx]")


@pytest.fixture(autouse=True)
def _quiet():
    """The converter's loggers are turned down; leave them as they were."""
    names = ("torch", "torch.fx", "torch.export", "torch.onnx", "onnxscript", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A series that the tiny detector is for, and one that it is not."""
    root = tmp_path_factory.mktemp("archive")
    tiny.write_series(root / "a", tiny.head_volume(1))
    tiny.write_series(root / "b", tiny.head_volume(2), description="AX T2")
    return root


@pytest.fixture(scope="module")
def two_blocks(tmp_path_factory):
    """A backbone half as deep as the others, because what takes long is to trace its blocks."""
    vision = tiny.CONFIG["vision_cfg"] | {"layers": 2}
    folder = tmp_path_factory.mktemp("two-blocks")
    return tiny.write_backbone(folder, tiny.CONFIG | {"vision_cfg": vision})


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_onnx_runtime_gives_the_scores_and_maps_of_pytorch(
    name, two_blocks, pictures, archive, tmp_path
):
    learns = settings_of(name).epochs > 0
    options = FitOptions(
        shots=3,
        method=name,
        backbone=f"local-dir:{two_blocks}",
        organ="Brain",
        folds=2,
        settings={"epochs": 1} if learns else {},
    )
    found, method = fit(pictures, options)
    path, out = tmp_path / "d.safetensors", tmp_path / "d.onnx"
    saved = found.save(path, method)
    told = graph.export_onnx(path, out, [archive])
    assert "random slices and 2 of the archive" in told
    session = onnxruntime.InferenceSession(str(out))
    assert session.get_inputs()[0].shape[1:] == [3, 64, 64]
    facts = json.loads(session.get_modelmeta().custom_metadata_map["medscan"])
    assert (facts["detector_hash"], facts["method"]) == (saved.digest, name)
    for count in (1, 5):
        images = np.random.default_rng(count).random((count, 3, 64, 64), dtype=np.float32)
        theirs = session.run(["score", "map"], {"image": images})
        ours = method.predict(torch.from_numpy(images))
        for a, b in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(a, b.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_graph_looks_at_the_foreground_too(two_blocks, pictures, tmp_path):
    options = FitOptions(
        shots=3,
        method="discriminant",
        backbone=f"local-dir:{two_blocks}",
        folds=2,
        settings={"view": "foreground"},
    )
    found, method = fit(pictures, options)
    path, out = tmp_path / "d.safetensors", tmp_path / "d.onnx"
    found.save(path, method)
    graph.export_onnx(path, out, [])
    session = onnxruntime.InferenceSession(str(out))
    images = np.zeros((3, 3, 64, 64), np.float32)
    images[0, :, 8:56, 4:40] = np.random.default_rng(1).random((48, 36), dtype=np.float32)
    images[1, :, 20:, :50] = 0.5
    theirs = session.run(["score", "map"], {"image": images})
    for a, b in zip(theirs, method.predict(torch.from_numpy(images)), strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-4, atol=1e-4)


@pytest.fixture
def model(monkeypatch):
    """A graph that is not the method's, in place of the converter."""
    from onnx import TensorProto, helper

    def fake(found, method):
        nodes = [
            helper.make_node("ReduceMean", ["image"], ["score"], keepdims=0, axes=[1, 2, 3]),
            helper.make_node("ReduceMean", ["image"], ["map"], keepdims=0, axes=[1]),
        ]
        make, kind = helper.make_tensor_value_info, TensorProto.FLOAT
        whole = helper.make_graph(
            nodes,
            "wrong",
            [make("image", kind, ["n", 3, 64, 64])],
            [make("score", kind, ["n"]), make("map", kind, ["n", 64, 64])],
        )
        opset = [helper.make_opsetid("", 13)]
        return helper.make_model(whole, opset_imports=opset, ir_version=8).SerializeToString()

    monkeypatch.setattr(graph, "_convert", fake)


def test_a_graph_that_gives_other_numbers_is_not_kept(model, detector_file, tmp_path, monkeypatch):
    out = tmp_path / "d.onnx"
    out.write_bytes(b"old")
    monkeypatch.setattr(graph.runtimes, "difference", lambda a, b: 2e-4)
    with pytest.raises(ExportError, match=r"differ from PyTorch's by 2\.0e-04"):
        graph.export_onnx(detector_file, out, [])
    assert [p.name for p in tmp_path.iterdir()] == ["d.onnx"]
    assert out.read_bytes() == b"old"


def test_what_is_not_a_number_is_far_apart():
    one = np.ones(3, np.float32)
    assert runtimes.difference(one * np.nan, one) == np.inf
    assert runtimes.difference(one + np.float32(1e-3), one * 1) == pytest.approx(1e-3, rel=1e-3)
    assert runtimes.difference(1001 * one, 1000 * one) == pytest.approx(1e-3)


def test_a_graph_that_does_not_run_is_not_kept(detector_file, tmp_path, monkeypatch):
    monkeypatch.setattr(graph, "_convert", lambda found, method: b"no graph")
    with pytest.raises(ExportError, match="does not run"):
        graph.export_onnx(detector_file, tmp_path / "d.onnx", [])
    assert list(tmp_path.iterdir()) == []


def test_a_method_that_does_not_trace_says_why(detector_file, tmp_path, monkeypatch):
    def depends_on_values(self, levels):
        score = levels.det[0].mean((1, 2))
        return (score if score.sum() > 0 else -score), levels.det[0]

    monkeypatch.setattr("medscan.methods.mvfa.Mvfa.score", depends_on_values)
    with pytest.raises(ExportError, match=r"mvfa cannot be converted: .*data-dependent"):
        graph.export_onnx(detector_file, tmp_path / "d.onnx", [])


def test_an_archive_of_something_else_is_refused(detector_file, tmp_path):
    tiny.write_series(tmp_path / "a", tiny.head_volume(1), description="AX T2")
    with pytest.raises(UsageError, match="no slice"):
        graph.export_onnx(detector_file, tmp_path / "d.onnx", [tmp_path / "a"])


def test_missing_libraries_are_named(detector_file, tmp_path, monkeypatch):
    monkeypatch.setattr(graph, "NEEDED", ("onnx", "no_such_runtime"))
    with pytest.raises(UsageError, match=r"no_such_runtime: pip install 'medscan\[onnx\]'"):
        graph.export_onnx(detector_file, tmp_path / "d.onnx", [])


def test_the_header_says_what_a_user_must_know(detector_file):
    facts = graph._facts(detector.read(detector_file), 64)
    assert facts["window"] == "auto"
    assert facts["slice_threshold"] > 0
