#!/bin/sh
# ITK adds the intercept of a NIfTI file whose slope is 0; nibabel does not.
#
# By the NIfTI-1 header file (nifti1.h), a slope of 0 means that values are not scaled at all: with
# scl_slope 0 and scl_inter 5, the stored numbers are the values. SimpleITK takes the slope for 1 and
# still adds the intercept, so that a window or a threshold in stored units is off by it; both readers
# are silent.
#
# Seen with Python 3.11, numpy 2.2.6, nibabel 5.3.2 and SimpleITK 2.5.2:
#
#     stored     [1, 2, 3]
#     nibabel    [1, 2, 3]
#     SimpleITK  [6, 7, 8]
#
# Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.2.6 nibabel==5.3.2 SimpleITK==2.5.2
"$folder/venv/bin/python" - "$folder/v.nii" <<'PYTHON'
import sys

import nibabel
import numpy
import SimpleITK

path = sys.argv[1]
nibabel.save(nibabel.Nifti1Image(numpy.arange(1, 4, dtype="<i2").reshape(3, 1, 1), numpy.eye(4)), path)
with open(path, "r+b") as stream:
    stream.seek(112)  # scl_slope, then scl_inter
    stream.write(numpy.array([0, 5], "<f4").tobytes())
ours = nibabel.load(path).get_fdata().ravel()
theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)).ravel()
print("stored     [1, 2, 3]")
print("nibabel   ", [int(v) for v in ours])
print("SimpleITK ", [int(v) for v in theirs])
sys.exit(0 if (ours == [1, 2, 3]).all() and (theirs == [6, 7, 8]).all() else 1)
PYTHON
