#!/bin/sh
# Which of a NIfTI file's two places a reader takes differs: nibabel prefers the sform whatever it leads
# to, SimpleITK only one that leads to the scanner.
#
# A file that was registered to an atlas keeps the scanner's place as its qform and has the atlas's as
# its sform, with code 2, 3 or 4. Both are valid. nibabel takes the sform; SimpleITK takes it if its
# code is 1, and else the qform. Coordinates that pass from one to the other are off by the registration.
#
# Seen with Python 3.11, numpy 2.4.6, nibabel 5.4.2 and SimpleITK 2.5.7, for a qform of code 1 with the
# origin at 0 and an sform that is 40 mm higher:
#
#     sform of code 1: nibabel at 40, SimpleITK at 40
#     sform of code 2: nibabel at 40, SimpleITK at 0
#     sform of code 3: nibabel at 40, SimpleITK at 0
#     sform of code 4: nibabel at 40, SimpleITK at 0
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
scanner, atlas = numpy.eye(4), numpy.eye(4)
atlas[2, 3] = 40
seen = []
for code in (1, 2, 3, 4):
    made = nibabel.Nifti1Image(numpy.zeros((2, 3, 4), numpy.int16), scanner)
    made.set_qform(scanner, code=1)
    made.set_sform(atlas, code=code)
    nibabel.save(made, path)
    ours, theirs = nibabel.load(path).affine[2, 3], SimpleITK.ReadImage(path).GetOrigin()[2]
    print(f"sform of code {code}: nibabel at {ours:g}, SimpleITK at {theirs:g}")
    seen.append((float(ours), theirs))
sys.exit(0 if seen == [(40, 40), (40, 0), (40, 0), (40, 0)] else 1)
PYTHON
