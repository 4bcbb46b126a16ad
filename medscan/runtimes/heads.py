"""Queries, keys and values of a graph's attentions, each multiplied by weights of its own.

PyTorch multiplies tokens by all three at once, and then moves them apart, which costs OpenVINO a
copy of each. From a layer of its own it takes each where it lies. The sums are the same, bit for
bit: every output of a linear layer is added up alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

ATTENTION = "ScaledDotProductAttention"
ROUNDED = "FakeQuantize"
PARTS = 3
"""Queries, keys and values, in this order."""
APART = [2, 0, 3, 1, 4]
"""Axes of (N, T, 3, heads, depth) that come before one another in (3, N, heads, T, depth)."""


def attentions(model: Any) -> list[Any]:
    """Return the operations that attend, in their order."""
    return [op for op in model.get_ordered_ops() if op.get_type_name() == ATTENTION]


def split(library: Any, model: Any) -> None:
    """Let each attention take what it attends to from layers of its own, if one layer made all.

    Layers rounded for int8 stay rounded as they were: their weights have a range for each output.
    """
    operations = library.opset13
    for attention in attentions(model):
        layer = _common_layer(attention)
        if layer is None:
            continue
        product = layer.input_value(0).get_node()
        _, heads, tokens, depth = attention.get_output_partial_shape(0)
        lengths = [0, tokens.get_length(), heads.get_length(), depth.get_length()]
        for part in range(PARTS):
            weights = _cut(operations, product.input_value(1), part, 0)
            bias = _cut(operations, layer.input_value(1), part, -1)
            made = operations.matmul(product.input_value(0), weights, False, True)
            shown = operations.reshape(operations.add(made, bias), np.array(lengths), True)
            moved = operations.transpose(shown, np.array([0, 2, 1, 3]))
            attention.input(part).replace_source_output(moved.output(0))
    model.validate_nodes_and_infer_types()


def _common_layer(attention: Any) -> Any | None:
    """The sum of product and bias that queries, keys and values are parts of, in their order."""
    found = [_layer_of(attention.input_value(part).get_node(), part) for part in range(PARTS)]
    names = {None if layer is None else layer.get_friendly_name() for layer in found}
    return found[0] if len(names) == 1 else None


def _layer_of(node: Any, part: int) -> Any | None:
    """The layer whose output lies apart in `node`, if it is that part of it."""
    steps = []
    for kind in ("Squeeze", "Slice", "Transpose", "Reshape", "Add", "MatMul"):
        if node.get_type_name() != kind:
            return None
        steps.append(node)
        node = node.input_value(0).get_node()
    _, piece, moved, _, layer, product = steps
    weights = product.input_value(1).get_node()
    if weights.get_type_name() == ROUNDED:
        weights = weights.input_value(0).get_node()
    start, order, bias = (op.input_value(1).get_node() for op in (piece, moved, layer))
    if any(op.get_type_name() != "Constant" for op in (start, order, bias, weights)):
        return None
    is_part = (start.data.tolist(), order.data.tolist()) == ([part], APART)
    return layer if is_part and product.get_attributes()["transpose_b"] else None


def _cut(operations: Any, value: Any, part: int, axis: int) -> Any:
    """A part of weights (3 d, e), which may be rounded, or of a bias (1, 1, 3 d)."""
    node = value.get_node()
    if node.get_type_name() == ROUNDED:
        parts = [_cut(operations, given, part, axis) for given in node.input_values()]
        return operations.fake_quantize(*parts, node.get_attributes()["levels"])
    return operations.constant(np.split(node.data, PARTS, axis)[part].copy())
