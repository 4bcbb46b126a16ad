"""Queries, keys and values as layers of their own: the same bits, with fewer copies."""

from collections import Counter

import numpy as np
import pytest

from medscan.choices import Precision
from medscan.profile import Clock
from medscan.runtimes import OpenVinoModel, heads, measure_layers
from medscan.runtimes import openvino as room
from tests.runtimes import needs_int8

BLOCKS = 4


def compiled(graph, precision, images):
    layers = measure_layers(graph, images) if precision is Precision.INT8 else ()
    return OpenVinoModel(graph, precision, 1, layers)


def kinds(model):
    return Counter(op.get_type_name() for op in model.get_ordered_ops())


@pytest.mark.parametrize(
    "precision", [Precision.FP32, pytest.param(Precision.INT8, marks=needs_int8)]
)
def test_no_bit_changes(graph, images, precision, monkeypatch):
    apart = compiled(graph, precision, images)
    monkeypatch.setattr(heads, "split", lambda library, model: None)
    whole = compiled(graph, precision, images)
    pairs = zip(
        apart.run(images, Clock()).wait(Clock()),
        whole.run(images, Clock()).wait(Clock()),
        strict=True,
    )
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)


def test_each_attention_has_three_layers_of_its_own(graph):
    model = room._read(graph)
    before = kinds(model)
    heads.split(room.library(), model)
    now = kinds(model)
    assert now["MatMul"] == before["MatMul"] + 2 * BLOCKS
    assert now["Squeeze"] == before["Squeeze"] - 3 * BLOCKS
    for attention in heads.attentions(model):
        layers = [
            value.get_node().input_value(0).get_node().input_value(0).get_node()
            for value in attention.input_values()[:3]
        ]
        assert [layer.get_type_name() for layer in layers] == ["Add"] * 3
        assert len({layer.get_friendly_name() for layer in layers}) == 3


def attending(first):
    """A graph that attends to the three parts of one layer, from part `first` on."""
    library = room.library()
    operations = library.opset13
    tokens = operations.parameter([-1, 5, 6], np.float32)
    weights = np.random.default_rng(0).random((18, 6)).astype(np.float32)
    layer = operations.add(
        operations.matmul(tokens, operations.constant(weights), False, True),
        operations.constant(np.zeros((1, 1, 18), np.float32)),
    )
    shown = operations.reshape(layer, np.array([0, 5, 3, 2, 3]), True)
    moved = operations.transpose(shown, np.array([2, 0, 3, 1, 4]))
    parts = []
    for part in (first, (first + 1) % 3, (first + 2) % 3):
        ends = (np.array([part]), np.array([part + 1]), np.array([1]), np.array([0]))
        parts.append(operations.squeeze(operations.slice(moved, *ends), np.array([0])))
    attention = operations.scaled_dot_product_attention(*parts)
    return library.Model([operations.result(attention)], [tokens])


@pytest.mark.parametrize(("first", "products"), [(0, 3), (1, 1)])
def test_only_queries_keys_and_values_in_this_order_are_split(first, products):
    model = attending(first)
    heads.split(room.library(), model)
    found = [op for op in model.get_ordered_ops() if op.get_type_name() == "MatMul"]
    assert len(found) == products


def test_attention_to_something_else_stays_as_it_is():
    library = room.library()
    operations = library.opset13
    given = [operations.parameter([-1, 2, 5, 3], np.float32) for _ in range(3)]
    attention = operations.scaled_dot_product_attention(*given)
    model = library.Model([operations.result(attention)], given)
    heads.split(library, model)
    inputs = [value.get_node().get_type_name() for value in attention.input_values()]
    assert inputs == ["Parameter"] * 3
