#!/bin/sh
# SimpleITK converts the metres or micrometres of a NIfTI file to millimetres, but not those of an NRRD
# file; nibabel converts neither.
#
# Both formats name the unit of their geometry (`xyzt_units`, `space units`). The same volume, with
# voxels of 20 micrometres as in images of small animals, so has another size by each path: a thousand
# times larger in nibabel's affine and zooms, which state no unit, and in an NRRD file that SimpleITK
# reads. The time between volumes is likewise in seconds in SimpleITK and as stored in nibabel.
#
# Seen with Python 3.11, numpy 2.4.6, nibabel 5.4.2 and SimpleITK 2.5.7, for the first axis:
#
#     NIfTI in micrometres, nibabel    20
#     NIfTI in micrometres, SimpleITK  0.02
#     NRRD in micrometres, SimpleITK   20
#     2000 milliseconds, nibabel       2000
#     2000 milliseconds, SimpleITK     2
#
# Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 nibabel==5.4.2 SimpleITK==2.5.7
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import nibabel
import numpy
import SimpleITK

nifti, nrrd = Path(sys.argv[1], "v.nii"), Path(sys.argv[1], "v.nrrd")
values = numpy.zeros((2, 3, 4, 5), numpy.int16)
made = nibabel.Nifti1Image(values, numpy.diag([20, 20, 20, 1]))
made.header.set_zooms((20, 20, 20, 2000))
made.header.set_xyzt_units("micron", "msec")
nibabel.save(made, nifti)
header = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 2 3 4
space directions: (20,0,0) (0,20,0) (0,0,20)
space units: "um" "um" "um"
space origin: (0,0,0)
endian: little
encoding: raw

"""
nrrd.write_bytes(header.encode() + values[..., 0].tobytes())
ours = nibabel.load(nifti).header.get_zooms()
theirs = SimpleITK.ReadImage(nifti).GetSpacing()
other = SimpleITK.ReadImage(nrrd).GetSpacing()
print(f"NIfTI in micrometres, nibabel    {ours[0]:g}")
print(f"NIfTI in micrometres, SimpleITK  {theirs[0]:g}")
print(f"NRRD in micrometres, SimpleITK   {other[0]:g}")
print(f"2000 milliseconds, nibabel       {ours[3]:g}")
print(f"2000 milliseconds, SimpleITK     {theirs[3]:g}")
seen = [ours[0], theirs[0], other[0], ours[3], theirs[3]]
sys.exit(0 if numpy.allclose(seen, [20, 0.02, 20, 2000, 2], rtol=1e-6) else 1)
PYTHON
