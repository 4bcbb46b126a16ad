#!/bin/sh
# A NaN among the pixels does not always make a network's score NaN: OpenVINO and ONNX Runtime lose it
# in different layers.
#
# Maps mark what lies outside with NaN. OpenVINO's ReLU, Clip and ReduceMax take it for the lowest value
# and go on with the others. ONNX Runtime keeps it in ReLU and Clip, but its ReduceMax gives neither NaN
# nor the greatest number. So the same model and image may have no score by one and a plausible one by
# the other; look for NaN in the image, not in the score.
#
# Seen with Python 3.11, numpy 2.4.6, onnx 1.23.2, onnxruntime 1.32.0 and openvino 2026.4.1 on an x86-64
# with AVX-512, for [1, nan, -3, 2]:
#
#     OpenVINO      Relu       [1.0, 0.0, 0.0, 2.0]
#     ONNX Runtime  Relu       [1.0, nan, 0.0, 2.0]
#     OpenVINO      Clip       [1.0, 0.0, 0.0, 1.0]
#     ONNX Runtime  Clip       [1.0, nan, 0.0, 1.0]
#     OpenVINO      ReduceMax  [2.0]
#     ONNX Runtime  ReduceMax  [1.0]
#
# Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy
import onnx
import onnxruntime
import openvino
from onnx import helper, numpy_helper

image = numpy.array([[1, numpy.nan, -3, 2]], numpy.float32)
limits = [numpy_helper.from_array(numpy.float32(v), name) for v, name in ((0, "low"), (1, "high"))]


def model(kind):
    inputs, extra, width = ["image"], [], 4
    if kind == "Clip":
        inputs, extra = ["image", "low", "high"], limits
    options = {}
    if kind == "ReduceMax":
        options, width = {"axes": [1]}, 1
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, ["score"], **options)],
        "layer",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, [1, width])],
        extra,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made.SerializeToString()


def by_openvino(content):
    core = openvino.Core()
    read = core.read_model(content, openvino.Tensor(numpy.zeros(0, numpy.uint8)))
    return core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image)[0]


def by_onnxruntime(content):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


seen = []
for kind in ("Relu", "Clip", "ReduceMax"):
    for name, run in (("OpenVINO", by_openvino), ("ONNX Runtime", by_onnxruntime)):
        seen.append([float(v) for v in run(model(kind)).ravel()])
        print(f"{name:12}  {kind:9} ", seen[-1])
nan = numpy.nan
expected = [[1, 0, 0, 2], [1, nan, 0, 2], [1, 0, 0, 1], [1, nan, 0, 1], [2], [1]]
same = [numpy.array_equal(a, b, equal_nan=True) for a, b in zip(seen, expected, strict=True)]
sys.exit(0 if all(same) else 1)
PYTHON
