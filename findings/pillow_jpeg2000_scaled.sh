#!/bin/sh
# Pillow multiplies the values of a JPEG 2000 image of 9 to 15 bits, and shifts signed ones.
#
# JPEG 2000 states how many bits a value has and whether it is signed; CT has 12, and may be signed.
# Pillow fills 16 bits: values of 12 bits come out 16 times as large, of 10 bits 64 times, and signed
# ones unsigned with their middle at 32768. Nothing of this is in the image that it returns, whose mode
# is I;16 as for a real 16-bit image. imagecodecs and pylibjpeg-openjpeg return the values.
#
# Seen with Python 3.11, numpy 2.4.6, Pillow 13.0.0, imagecodecs 2026.3.6 and pylibjpeg-openjpeg 2.6.0;
# the latter two give what was written:
#
#     10 bits          written [0, 1, 1000]    Pillow [0, 64, 64000]
#     12 bits          written [0, 1, 4000]    Pillow [0, 16, 64000]
#     12 bits, signed  written [-2000, 0, 40]  Pillow [768, 32768, 33408]
#     16 bits          written [0, 1, 65000]   Pillow [0, 1, 65000]
#
# Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 pillow==13.0.0 imagecodecs==2026.3.6 pylibjpeg-openjpeg==2.6.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from io import BytesIO

import imagecodecs
import numpy
from openjpeg.utils import decode, encode_array
from PIL import Image

expected = {
    "10 bits": (10, numpy.uint16, [0, 1, 1000], [0, 64, 64000]),
    "12 bits": (12, numpy.uint16, [0, 1, 4000], [0, 16, 64000]),
    "12 bits, signed": (12, numpy.int16, [-2000, 0, 40], [768, 32768, 33408]),
    "16 bits": (16, numpy.uint16, [0, 1, 65000], [0, 1, 65000]),
}
same = True
for name, (bits, kind, values, scaled) in expected.items():
    image = numpy.zeros((64, 64), kind)
    image[0, :3] = values
    stream = bytes(encode_array(image, bits_stored=bits, photometric_interpretation=2))
    pillow = numpy.asarray(Image.open(BytesIO(stream)))[0, :3].tolist()
    others = [decode(stream), imagecodecs.jpeg2k_decode(stream)]
    exact = all((other == image).all() for other in others)
    print(f"{name:15}  written {values!s:14}  Pillow {pillow}" + "; others differ" * (not exact))
    same &= exact and pillow == scaled
sys.exit(0 if same else 1)
PYTHON
