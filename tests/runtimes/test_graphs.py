"""Graphs in the cache: found again, never those of something else, never damaged ones."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from medscan import detector
from medscan.errors import ExportError
from medscan.files import make_room
from medscan.runtimes import graphs
from medscan.runtimes.base import Square
from medscan.runtimes.graphs import Graph, graph_name, graph_of

GRAPH = Graph(b"<net/>", np.arange(100, dtype=np.uint8), Square(64, 4, 16, 64))


@pytest.fixture
def found(detector_file, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return detector.read(detector_file)


@pytest.fixture
def made(monkeypatch):
    """How often a graph was made."""
    calls = []
    monkeypatch.setattr(graphs, "make", lambda method: calls.append(method) or GRAPH)
    return calls


def is_the_graph(graph):
    return (graph.structure, graph.weights.tobytes(), graph.square) == (
        GRAPH.structure,
        GRAPH.weights.tobytes(),
        GRAPH.square,
    )


def test_a_graph_is_made_once(found, made):
    assert is_the_graph(graph_of(found, lambda: "method"))
    assert is_the_graph(graph_of(found, lambda: pytest.fail("loaded again")))
    assert made == ["method"]


@pytest.mark.parametrize(
    "other", [{"digest": "0" * 64}, {"backbone_digest": "0" * 64}], ids=["detector", "backbone"]
)
def test_another_detector_has_another_graph(found, other):
    assert graph_name(replace(found, **other)) != graph_name(found)


@pytest.mark.parametrize("library", ["openvino", "torch"])
def test_other_versions_make_another_graph(found, monkeypatch, library):
    before, real = graph_name(found), graphs.version
    monkeypatch.setattr(graphs, "version", lambda name: "0" if name == library else real(name))
    assert graph_name(found) != before


def _flip(data):
    data[-1] ^= 1


def _cut(data):
    del data[-1:]


def _wrong_square(data):
    data[:] = data.replace(b'\\"size\\": 64', b'\\"size\\": 65')


def _something_else(data):
    data[:] = save({"weights": np.zeros(3, np.uint8)}, metadata={"medscan": "[]"})


@pytest.mark.parametrize("harm", [_flip, _cut, _wrong_square, _something_else, bytearray.clear])
def test_a_damaged_graph_is_made_again(found, made, harm):
    graph_of(found, lambda: "first")
    path = graphs.folder() / graph_name(found)
    whole = path.read_bytes()
    data = bytearray(whole)
    harm(data)
    assert bytes(data) != whole
    path.write_bytes(data)
    assert is_the_graph(graph_of(found, lambda: "second"))
    assert made == ["first", "second"]
    assert path.read_bytes() == whole


def test_without_a_place_for_it_a_graph_is_made_each_time(found, made, tmp_path, caplog):
    (tmp_path / "medscan").write_text("a file")
    for _ in range(2):
        assert is_the_graph(graph_of(found, lambda: "method"))
    assert len(made) == 2
    assert "not kept for the next scan" in caplog.text


def test_a_graph_that_gives_other_numbers_is_not_used(found, made, backbone, monkeypatch):
    def differs(graph, method):
        raise ExportError("scores differ")

    monkeypatch.undo()
    monkeypatch.setattr(graphs, "traced", lambda method, gated: None)
    monkeypatch.setattr(graphs.openvino, "convert", lambda program, path: _write(path))
    monkeypatch.setattr(graphs, "_check", differs)

    class Method:
        name = "mvfa"

    Method.backbone = backbone
    with pytest.raises(ExportError, match="scores differ"):
        graphs.make(Method)


def _write(path):
    path.write_bytes(b"<net/>")
    path.with_suffix(".bin").write_bytes(b"weights")


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    import os

    for age, name in enumerate("abc"):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    make_room(tmp_path, 250)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
