#!/bin/sh
# Pillow turns a grey image of 16 bits into noise when it rotates it with interpolation.
#
# Rotating or shifting (`rotate`, `transform`) by the nearest pixel is right. Bilinear and bicubic give
# an image of the same type, whose values have nothing to do with the picture and never exceed 255; no
# error, no warning. Resizing with interpolation is right. Whoever augments CT slices, or films read
# from 16-bit PNG, by small rotations fits to noise; a mean near 128 looks like a plausible slice.
#
# Seen with Python 3.11, numpy 2.4.6 and Pillow 13.0.0, for a ramp of 32 x 32 pixels shifted by half a
# pixel, and four neighbours in its middle:
#
#     nearest, 16 bits   [33728, 33792, 33856, 33920]
#     bilinear, 16 bits  [160, 64, 65, 97], highest value of the image: 221
#     bilinear, floats   [33696, 33760, 33824, 33888]
#
# Converting to mode F first avoids it. Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 pillow==13.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy
from PIL import Image

ramp = (numpy.arange(32 * 32) * 64).astype(numpy.uint16).reshape(32, 32)


def shifted(values, resample):
    picture = Image.fromarray(values)
    moved = picture.transform(picture.size, Image.Transform.AFFINE, (1, 0, 0.5, 0, 1, 0), resample)
    return numpy.asarray(moved)


nearest = shifted(ramp, Image.Resampling.NEAREST)
deep = shifted(ramp, Image.Resampling.BILINEAR)
floats = shifted(ramp.astype(numpy.float32), Image.Resampling.BILINEAR)
middle = numpy.s_[16, 14:18]
print("nearest, 16 bits  ", [int(v) for v in nearest[middle]])
shown = [int(v) for v in deep[middle]]
print("bilinear, 16 bits ", f"{shown}, highest value of the image: {deep.max()}")
print("bilinear, floats  ", [int(v) for v in floats[middle]])
inner = numpy.s_[:, 1:-1]
right = (floats[inner] == ramp[inner] + 32.0).all() and (nearest[inner] > 255).any()
sys.exit(0 if right and deep.dtype == numpy.uint16 and deep.max() <= 255 else 1)
PYTHON
