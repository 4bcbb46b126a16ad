#!/bin/sh
# pyjpegls encodes a 16-bit image wrongly, without an error, if none of its values needs more than
# eight bits, as in a dark slice of a CT or a frame of background.
#
# `encode_array` takes the precision of the stream from the highest value, while the buffer keeps two
# bytes a pixel: below 256 these are read as two pixels of one byte. One value of 256 anywhere makes
# the whole image come back exactly. A series may so be stored with single slices that are wrong.
#
# Seen with Python 3.11, numpy 2.2.6 and pyjpegls 1.5.1, for 256 pixels of uint16:
#
#     highest value 255: 1 of 256 pixels come back, as uint8
#     highest value 256: 256 of 256 pixels come back, as uint16
#
# Encoding values up to 255 as uint8 avoids it. Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.2.6 pyjpegls==1.5.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import jpeg_ls
import numpy

seen = []
for highest in (255, 256):
    image = (numpy.arange(256) * highest // 255).astype(numpy.uint16).reshape(16, 16)
    stream = numpy.frombuffer(bytes(jpeg_ls.encode_array(image)), numpy.uint8)
    back = jpeg_ls.decode(stream)
    equal = int((back == image).sum())
    print(f"highest value {highest}: {equal} of 256 pixels come back, as {back.dtype}")
    seen.append((equal, str(back.dtype)))
sys.exit(0 if seen == [(1, "uint8"), (256, "uint16")] else 1)
PYTHON
