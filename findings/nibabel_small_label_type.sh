#!/bin/sh
# nibabel changes every label of a segmentation, not only those that do not fit, if the header's type
# is too small for one of them.
#
# `Nifti1Image(labels, affine, header)` keeps the type of the header that it is given, often that of
# another image's. A label of 300 does not fit 8 bits: nibabel then stretches all values over the 256
# that there are and writes a slope. Read again, the labels are no whole numbers, and some of them have
# become one, without an error or a warning. Seven more labels can so merge two organs.
#
# Seen with Python 3.11, numpy 2.4.6 and nibabel 5.4.2, for labels written with a header of uint8:
#
#     written 0 1 2 3 4 254 255, read 0 1 2 3 4 254 255
#     written 0 1 2 3 4 254 300, read 0 1.18 2.35 3.53 3.53 254.12 300
#
# Leaving out the header, or `set_data_dtype`, avoids it. Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 nibabel==5.4.2
"$folder/venv/bin/python" - "$folder/labels.nii" <<'PYTHON'
import sys

import nibabel
import numpy

path = sys.argv[1]
header = nibabel.Nifti1Image(numpy.zeros((7, 1, 1), numpy.uint8), numpy.eye(4)).header
seen = []
for labels in ([0, 1, 2, 3, 4, 254, 255], [0, 1, 2, 3, 4, 254, 300]):
    array = numpy.array(labels, numpy.int32).reshape(7, 1, 1)
    nibabel.save(nibabel.Nifti1Image(array, numpy.eye(4), header), path)
    back = nibabel.load(path).get_fdata().ravel()
    print("written", *labels, end=", read ")
    print(*(f"{v:.2f}".rstrip("0").rstrip(".") for v in back))
    seen.append(back)
exact = (seen[0] == [0, 1, 2, 3, 4, 254, 255]).all()
merged = seen[1][3] == seen[1][4] and not (seen[1][1:6] == seen[1][1:6].round()).any()
sys.exit(0 if exact and merged else 1)
PYTHON
