"""The linear layers of a detector's graph, multiplied as bytes.

Weights are rounded for each output, from their own largest value; inputs for each layer, within the
range that `measure` found, of which zero is a level (Jacob et al., CVPR 2018, eq. 1). Only layers
of the tower are rounded: norms and what scores the tokens stay as they are. The ranges are a pair
of numbers a layer, so that a detector carries them in its file, and no graph that somebody else has
made is ever read.

With its layers four times as fast, attention is a fifth of the model's time. Where the CPU is
faster at bfloat16, it is computed so: a quarter less for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medscan.errors import DetectorError
from medscan.history import Layer
from medscan.runtimes.heads import attentions

LEVELS, WEIGHT_LEVELS = 256, 255
"""Of an input, and of a weight, whose levels are symmetric."""


def linear_layers(model: Any) -> list[Any]:
    """Return the operations that multiply tokens (N, T, d) by weights (e, d), in their order.

    They lead to the last attention, or are as wide as it: narrower ones behind it score tokens.
    """
    ordered, attending = model.get_ordered_ops(), attentions(model)
    if not attending:
        return []
    _, heads, _, depth = attending[-1].get_output_partial_shape(0)
    width = heads.get_length() * depth.get_length()
    before, waiting = set[str](), attending[-1:]
    while waiting:
        op = waiting.pop()
        if op.get_friendly_name() not in before:
            before.add(op.get_friendly_name())
            waiting += [source.get_node() for source in op.input_values()]
    return [
        op
        for op in ordered
        if _is_linear(op)
        and (op.get_friendly_name() in before or op.input_value(1).get_shape()[0] >= width)
    ]


def _is_linear(op: Any) -> bool:
    if op.get_type_name() != "MatMul":
        return False
    tokens, weights = op.input_value(0), op.input_value(1)
    return (
        weights.get_node().get_type_name() == "Constant"
        and len(weights.get_shape()) == 2
        and tokens.get_partial_shape().rank.get_length() == 3
        and op.get_attributes()["transpose_b"]
        and not op.get_attributes()["transpose_a"]
    )


def measure(
    model: Any, compiled_of: Callable[[Any], Any], images: Iterable[NDArray[np.float32]]
) -> tuple[Layer, ...]:
    """Measure the inputs of a graph's linear layers.

    Neither the order of the images nor batches matter.

    Parameters
    ----------
    model : openvino.Model
        It gets further outputs.
    compiled_of : callable
        Compiles the model in single precision.
    images : iterable of float32 (3, S, S)
        In [0, 1]; one at least.
    """
    layers, first = linear_layers(model), len(model.outputs)
    sources = [layer.input_value(0) for layer in layers]
    names = [(source.get_node().get_friendly_name(), source.get_index()) for source in sources]
    several = dict(zip(names, sources, strict=True))  # layers may share an input
    model.add_outputs(list(several.values()))
    compiled, ranges = compiled_of(model), dict.fromkeys(several, (0.0, 0.0))
    for image in images:
        found = compiled(image[None])
        for number, (name, (low, high)) in enumerate(ranges.items(), first):
            tokens = found[number]
            ranges[name] = min(low, float(tokens.min())), max(high, float(tokens.max()))
    widths = [layer.input_value(1).get_shape() for layer in layers]
    pairs = zip(widths, names, strict=True)
    return tuple(Layer(inputs, outputs, *ranges[name]) for (outputs, inputs), name in pairs)


def insert(library: Any, model: Any, layers: Sequence[Layer]) -> None:
    """Round the inputs and weights of a graph's linear layers.

    Raises
    ------
    DetectorError
        If these are the ranges of another graph.
    """
    found = linear_layers(model)
    widths = [op.input_value(1).get_shape() for op in found]
    if not layers or [(x.outputs, x.inputs) for x in layers] != [tuple(w) for w in widths]:
        raise DetectorError("its ranges for int8 are of another graph; run medscan optimise again")
    for op, layer in zip(found, layers, strict=True):
        _round(library, op, 0, *_with_zero(layer.low, layer.high), LEVELS)
        weights = op.input_value(1).get_node()
        most = np.abs(weights.data).max(1, keepdims=True).astype(np.float32)
        _round(library, op, 1, -most, most, WEIGHT_LEVELS)
    model.validate_nodes_and_infer_types()


def attend_in_bfloat16(library: Any, model: Any) -> None:
    """Compute the attentions of a graph in bfloat16, and nothing else."""
    operations = library.opset13
    for op in attentions(model):
        for port in op.inputs():
            half = operations.convert(port.get_source_output(), "bf16")
            port.replace_source_output(half.output(0))
        readers = list(op.output(0).get_target_inputs())
        whole = operations.convert(op.output(0), "f32")
        for reader in readers:
            reader.replace_source_output(whole.output(0))
    model.validate_nodes_and_infer_types()


def _with_zero(low: float, high: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Move a range, so that zero is one of its levels: most inputs after a GELU are near it."""
    step = max(high - low, 1e-30) / (LEVELS - 1)
    below = round(-low / step)
    ends = np.array([-below * step, (LEVELS - 1 - below) * step], np.float32)
    return ends[:1].reshape(1, 1, 1), ends[1:].reshape(1, 1, 1)


def _round(library: Any, op: Any, port: int, low: Any, high: Any, levels: int) -> None:
    operations = library.opset13
    low, high = operations.constant(low), operations.constant(high)
    rounded = operations.fake_quantize(op.input_value(port), low, high, low, high, levels)
    op.input(port).replace_source_output(rounded.output(0))
