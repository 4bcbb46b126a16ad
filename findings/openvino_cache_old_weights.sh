#!/bin/sh
# OpenVINO's cache hands out the old model after its weights file was replaced.
#
# An OpenVINO model is two files, the graph (.xml) and the weights (.bin). With CACHE_DIR set, a model
# that is compiled from its path comes from the cache although its .bin, as after fitting again, is
# newer and holds other weights of the same size. A detector so gives yesterday's scores, and no file
# shows why. Reading the model first, and compiling what was read, notices it.
#
# Seen with Python 3.11, numpy 2.4.6 and openvino 2026.4.1, for a network that adds up 64 ones, times 1
# in the old weights and times 3 in the new:
#
#     old weights                               64
#     new weights, compiled from the path       64
#     new weights, read and then compiled       192
#     new weights, from the path without cache  192
#
# Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 openvino==2026.4.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import numpy
import openvino
from openvino import opset13

path, ones = f"{sys.argv[1]}/model.xml", numpy.ones((1, 64), numpy.float32)


def save(name, factor):
    taken = opset13.parameter([-1, 64], numpy.float32, name="taken")
    weights = opset13.constant(numpy.full((64, 8), factor, numpy.float32), name="weights")
    given = opset13.matmul(taken, weights, False, False, name="given")
    model = openvino.Model([given], [taken], "sum")
    openvino.save_model(model, f"{sys.argv[1]}/{name}.xml", compress_to_fp16=False)


def scored(what, cached=True):
    core = openvino.Core()
    if cached:
        core.set_property({"CACHE_DIR": f"{sys.argv[1]}/cache"})
    compiled = core.compile_model(core.read_model(path) if what == "read" else path, "CPU")
    return int(compiled(ones)[0][0, 0])


save("model", 1)
seen = {"old weights": scored("path")}
save("other", 3)
with open(f"{sys.argv[1]}/other.bin", "rb") as new, open(f"{sys.argv[1]}/model.bin", "wb") as old:
    old.write(new.read())
seen["new weights, compiled from the path"] = scored("path")
seen["new weights, read and then compiled"] = scored("read")
seen["new weights, from the path without cache"] = scored("path", cached=False)
for name, score in seen.items():
    print(f"{name:40} ", score)
sys.exit(0 if list(seen.values()) == [64, 64, 192, 192] else 1)
PYTHON
