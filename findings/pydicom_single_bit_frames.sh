#!/bin/sh
# pydicom cannot decode some single frames of images with one bit a pixel; all at once it can.
#
# Frames of single bits follow one another without padding (DICOM PS3.5 8.1.1), so that a frame may
# start and end within a byte. Asked for one frame by its index, pydicom takes as many bytes as a frame
# needs that starts with a byte: of 45 pixels, 6 bytes. The second of three such frames needs bits 45
# to 89, which lie in 7 bytes: it is cut short, and an error says that it cannot be reshaped. The
# others, and all frames at once, are right. A reader that decodes frame by frame loses such frames of
# valid files.
#
# Seen with Python 3.11, numpy 2.2.6 and pydicom 3.0.1:
#
#     all at once  right
#     frame 1      right
#     frame 2      ValueError: cannot reshape array of size 43 into shape (9,5)
#     frame 3      right
#
# Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.2.6 pydicom==3.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import get_decoder
from pydicom.uid import ExplicitVRLittleEndian

bits = (numpy.arange(3 * 9 * 5) % 3 == 0).reshape(3, 9, 5)
image = Dataset()
image.file_meta = FileMetaDataset()
image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
image.Rows, image.Columns, image.NumberOfFrames, image.SamplesPerPixel = 9, 5, 3, 1
image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
image.BitsAllocated, image.BitsStored, image.HighBit = 1, 1, 0
image.PixelData = numpy.packbits(bits, bitorder="little").tobytes() + b"\0"
image["PixelData"].VR = "OB"
decoder = get_decoder(ExplicitVRLittleEndian)
whole = bool((image.pixel_array == bits).all())
print("all at once ", "right" if whole else "wrong")
seen = []
for number, frame in enumerate(bits):
    try:
        found = decoder.as_array(image, index=number)[0]
        seen.append("right" if (found == frame).all() else "wrong")
    except ValueError as error:
        seen.append(f"ValueError: {error}")
    print(f"frame {number + 1}     ", seen[-1])
failed = seen[1].startswith("ValueError: cannot reshape")
sys.exit(0 if whole and failed and seen[::2] == ["right", "right"] else 1)
PYTHON
