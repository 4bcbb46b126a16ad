#!/bin/sh
# Where a NIfTI file states neither sform nor qform, nibabel and SimpleITK make up different places for
# it, mirrored from front to back.
#
# With both codes 0, as in files made from ANALYZE, only the size of the voxels is known (nifti1.h,
# method 1). nibabel gives an affine all the same, which looks like any other: the second axis runs to
# the front, and the middle of the volume is at 0. SimpleITK's second axis runs to the back, and the
# first voxel is at 0. What one writes of such a file does not fit what the other reads; both are silent.
#
# Seen with Python 3.11, numpy 2.4.6, nibabel 5.4.2 and SimpleITK 2.5.7, for 2 x 3 x 4 voxels of
# 1 x 2 x 3 mm; places of the first and the last voxel, in mm to the right, the front and the head:
#
#     nibabel    first [0.5, -2.0, -4.5], last [-0.5, 2.0, 4.5]
#     SimpleITK  first [0.0, 0.0, 0.0], last [-1.0, -4.0, 9.0]
#
# Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 nibabel==5.4.2 SimpleITK==2.5.7
"$folder/venv/bin/python" - "$folder/v.nii" <<'PYTHON'
import sys

import nibabel
import numpy
import SimpleITK

path = sys.argv[1]
made = nibabel.Nifti1Image(numpy.zeros((2, 3, 4), numpy.int16), None)
made.header.set_zooms((1, 2, 3))
nibabel.save(made, path)
ours, theirs = nibabel.load(path), SimpleITK.ReadImage(path)
assert int(ours.header["sform_code"]) == int(ours.header["qform_code"]) == 0
seen = {"nibabel": [], "SimpleITK": []}
for index in ((0, 0, 0), (1, 2, 3)):
    seen["nibabel"].append([float(v) for v in nibabel.affines.apply_affine(ours.affine, index)])
    left, back, head = theirs.TransformIndexToPhysicalPoint(index)
    seen["SimpleITK"].append([0.0 - left, 0.0 - back, head])
for name, (first, last) in seen.items():
    print(f"{name:9}  first {first}, last {last}")
expected = {"nibabel": [[0.5, -2, -4.5], [-0.5, 2, 4.5]], "SimpleITK": [[0, 0, 0], [-1, -4, 9]]}
sys.exit(0 if seen == expected else 1)
PYTHON
