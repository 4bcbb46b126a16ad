#!/bin/sh
# In a model that ONNX Runtime quantised dynamically, an image's score depends on the other images of
# its batch.
#
# `quantize_dynamic` leaves the scale of the activations to each run: one scale for the whole tensor,
# and so for all images that are computed together. A brighter neighbour makes the steps coarser. The
# same slice has another score alone, at the end of a study, or beside another patient, and may cross a
# threshold; nothing in the model or the API says so.
#
# Seen with Python 3.11, numpy 2.4.6, onnx 1.23.2, onnxruntime 1.32.0 and one linear layer of 64 inputs:
#
#     float32, alone               -9.7012
#     float32, beside a brighter   -9.7012
#     dynamic 8 bits, alone        -9.6140
#     dynamic 8 bits, beside       -9.5527
#
# The last digits depend on the processor; exits with status 1 once the scores do not differ.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import logging
import sys

import numpy
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

logging.disable(logging.WARNING)  # the quantiser advises to optimise the graph first
random = numpy.random.default_rng(0)
weights = random.normal(size=(64, 1)).astype(numpy.float32)
image = random.normal(size=(1, 64)).astype(numpy.float32)
brighter = 10 * random.normal(size=(1, 64)).astype(numpy.float32)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["images", "weights"], ["scores"])],
    "layer",
    [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["n", 64])],
    [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["n", 1])],
    [numpy_helper.from_array(weights, "weights")],
)
whole, small = f"{sys.argv[1]}/whole.onnx", f"{sys.argv[1]}/small.onnx"
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), whole)
quantize_dynamic(whole, small)


def score(path, batch):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return float(session.run(None, {"images": batch})[0][0, 0])


both = numpy.concatenate([image, brighter])
seen = {
    "float32, alone": score(whole, image),
    "float32, beside a brighter": score(whole, both),
    "dynamic 8 bits, alone": score(small, image),
    "dynamic 8 bits, beside": score(small, both),
}
for name, value in seen.items():
    print(f"{name:27}  {value:.4f}")
exact, beside, alone, moved = seen.values()
sys.exit(0 if abs(exact - beside) < 1e-5 and abs(alone - moved) > 0.01 else 1)
PYTHON
