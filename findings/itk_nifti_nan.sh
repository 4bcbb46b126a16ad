#!/bin/sh
# SimpleITK reads a NIfTI file's NaN and infinite voxels as 0; from other formats it reads them as
# they are.
#
# Maps mark what lies outside the brain with NaN, and a failed computation leaves infinities. Read from
# NIfTI by SimpleITK, such voxels are ordinary zeros: a check for NaN finds none, and means and minima
# count them. The same image read from NRRD, or by nibabel, keeps them. There is no warning.
#
# Seen with Python 3.11, numpy 2.4.6, nibabel 5.4.2 and SimpleITK 2.5.7:
#
#     written           [1.0, nan, inf, -inf]
#     NIfTI, nibabel    [1.0, nan, inf, -inf]
#     NIfTI, SimpleITK  [1.0, 0.0, 0.0, 0.0]
#     NRRD, SimpleITK   [1.0, nan, inf, -inf]
#
# Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 nibabel==5.4.2 SimpleITK==2.5.7
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import nibabel
import numpy
import SimpleITK

written = numpy.array([1, numpy.nan, numpy.inf, -numpy.inf], numpy.float32)
image = SimpleITK.GetImageFromArray(written.reshape(1, 1, 4))
SimpleITK.WriteImage(image, f"{sys.argv[1]}/v.nii")
SimpleITK.WriteImage(image, f"{sys.argv[1]}/v.nrrd")


def by_itk(name):
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(f"{sys.argv[1]}/{name}")).ravel()


seen = {
    "written": written,
    "NIfTI, nibabel": nibabel.load(f"{sys.argv[1]}/v.nii").get_fdata().ravel(),
    "NIfTI, SimpleITK": by_itk("v.nii"),
    "NRRD, SimpleITK": by_itk("v.nrrd"),
}
for name, values in seen.items():
    print(f"{name:16} ", [float(v) for v in values])
kept = [name for name, v in seen.items() if numpy.array_equal(v, written, equal_nan=True)]
zeros = (seen["NIfTI, SimpleITK"] == [1, 0, 0, 0]).all()
sys.exit(0 if zeros and kept == ["written", "NIfTI, nibabel", "NRRD, SimpleITK"] else 1)
PYTHON
