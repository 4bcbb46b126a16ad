"""int8: which layers are rounded, within which ranges, and that nothing else decides a score."""

from dataclasses import replace

import numpy as np
import pytest

from medscan.choices import Precision
from medscan.errors import DetectorError
from medscan.profile import Clock
from medscan.runtimes import OpenVinoModel, heads, int8, measure_layers
from medscan.runtimes import openvino as room
from tests.runtimes import needs_bf16, needs_int8

INT8, FP32 = Precision.INT8, Precision.FP32


@pytest.fixture
def layers(graph, images):
    return measure_layers(graph, images)


def _told(op):
    """What OpenVINO says of an operation of a compiled graph."""
    return {key: str(value.astype(str)) for key, value in op.get_rt_info().items()}


def scored(model, images):
    return model.run(images, Clock()).wait(Clock())


def test_ranges_are_of_the_layers_and_do_not_depend_on_the_order(graph, images, layers):
    widths = [(layer.inputs, layer.outputs) for layer in layers]
    assert widths[:4] == [(32, 96), (32, 32), (32, 128), (128, 32)]
    tower = [w for w in widths if w in widths[:4]]
    assert tower == 4 * widths[:4]  # of four blocks
    assert all(layer.low <= 0 < layer.high for layer in layers)
    assert measure_layers(graph, images[::-1]) == layers
    assert measure_layers(graph, images[:1]) != layers


@needs_int8
def test_scores_are_near_those_of_single_precision_and_not_equal(graph, images, layers):
    full, low = (
        scored(OpenVinoModel(graph, *given), images) for given in ((FP32, 1), (INT8, 1, layers))
    )
    for a, b in zip(full, low, strict=True):
        assert 1e-6 < np.abs(a - b).max() < 0.2
    compiled = OpenVinoModel(graph, INT8, 1, layers)._compiled.get_runtime_model()
    facts = [_told(op) for op in compiled.get_ops()]
    multiplied = [f["runtimePrecision"] for f in facts if f["layerType"] == "FullyConnected"]
    apart = 2 * 4  # keys and values of four blocks, as layers of their own
    assert sum(name in ("i8", "u8") for name in multiplied) == len(layers) + apart


@needs_int8
@needs_bf16
@pytest.mark.parametrize(("multiplies", "count"), [(True, 4), (False, 0)])
def test_attention_is_in_bfloat16_where_the_cpu_multiplies_it_and_does_not_emulate_it(
    graph, layers, monkeypatch, multiplies, count
):
    monkeypatch.setattr(room, "computes_bf16", lambda: multiplies)
    compiled = OpenVinoModel(graph, INT8, 1, layers)._compiled.get_runtime_model()
    facts = [_told(op) for op in compiled.get_ops()]
    halves = [f for f in facts if f["runtimePrecision"] == "bf16" and f["layerType"] == "Subgraph"]
    assert len(halves) == count  # of four blocks


def test_only_attention_is_converted(graph):
    model = room._read(graph)
    int8.attend_in_bfloat16(room.library(), model)
    attentions = heads.attentions(model)
    assert len(attentions) == 4
    for op in attentions:
        assert [str(port.get_element_type().to_string()) for port in op.inputs()] == 3 * ["bf16"]
        (reader,) = op.output(0).get_target_inputs()
        assert reader.get_node().output(0).get_element_type().to_string() == "f32"
    others = [op for op in model.get_ops() if op not in attentions]
    halves = [op for op in others if op.output(0).get_element_type().to_string() == "bf16"]
    assert all(op.get_type_name() == "Convert" for op in halves)


@needs_int8
def test_zero_is_exact_and_what_lies_beyond_the_range_is_cut_off(graph, images, layers):
    narrow = tuple(replace(one, low=one.low / 8, high=one.high / 8) for one in layers)
    wide = tuple(replace(one, low=one.low * 8, high=one.high * 8) for one in layers)
    full = scored(OpenVinoModel(graph, FP32, 1), images)[1]
    errors = [
        np.abs(scored(OpenVinoModel(graph, INT8, 1, found), images)[1] - full).mean()
        for found in (layers, narrow, wide)
    ]
    assert errors[0] < min(errors[1:])


@needs_int8
def test_a_batch_may_have_any_size_and_lanes_and_rounds_the_same(graph, images, layers):
    model = OpenVinoModel(graph, INT8, 1, layers)
    together = scored(model, images)
    lanes = scored(OpenVinoModel(graph, INT8, 2, layers), images[::-1].copy())
    for n in range(len(images)):
        alone = scored(model, images[n : n + 1])
        for whole, single, turned in zip(together, alone, lanes, strict=True):
            assert whole[n].tobytes() == single[0].tobytes() == turned[-1 - n].tobytes()


def test_ranges_of_another_graph_are_refused(graph, layers):
    for wrong in ((), layers[1:], (replace(layers[0], inputs=7), *layers[1:])):
        with pytest.raises(DetectorError, match="are of another graph; run medscan optimise"):
            OpenVinoModel(graph, INT8, 1, wrong)


def test_the_rest_is_in_single_precision():
    assert room.properties(INT8, 1)["INFERENCE_PRECISION_HINT"] == "f32"
