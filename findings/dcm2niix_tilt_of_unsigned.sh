#!/bin/sh
# dcm2niix corrects the tilt of a CT gantry only where the stored values are signed.
#
# Of a tilted series it writes the slices as they are, with an affine that passes over the tilt, and a
# second file (`_Tilt`) that was sheared upright. With unsigned values, which CT often has under an
# intercept of -1024, the second file is not there. A line among the others says that only 16-bit
# integers are corrected, which these are, and the status is 0. What is left places every slice as if
# it lay straight above the first. Whether a study is right depends on its Pixel Representation.
#
# Seen with Python 3.11, numpy 2.4.6, pydicom 3.0.2, nibabel 5.4.2 and dcm2niix 1.0.20260724, for slices
# 5 mm apart that are each 1 mm further to the back, and the shift that the affine states:
#
#     signed:   ct.nii (shift 0 mm), ct_Tilt_1.nii (shift 0 mm), status 0
#     unsigned: ct.nii (shift 0 mm), status 0
#
# Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 pydicom==3.0.2 nibabel==5.4.2 dcm2niix==1.0.20260724
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

study, series, place = generate_uid(), generate_uid(), generate_uid()


def write(path, number, signed):
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID, image.Modality = CTImageStorage, generate_uid(), "CT"
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, place
    image.PatientPosition, image.ProtocolName = "HFS", "CT"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.SeriesNumber, image.InstanceNumber, image.GantryDetectorTilt = 1, number + 1, -11.3099
    image.StudyDate, image.StudyTime, image.AcquisitionTime = "20260101", "000000", "000000"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.Rows, image.Columns, image.SamplesPerPixel, image.PixelRepresentation = 4, 4, 1, int(signed)
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelSpacing, image.SliceThickness = [1, 1], 5
    image.ImagePositionPatient = [0, number, 5 * number]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.RescaleSlope, image.RescaleIntercept = 1, -1024
    image.PixelData = numpy.full((4, 4), 10 * (number + 1), numpy.uint16).tobytes()
    image.save_as(path, enforce_file_format=True)


seen = []
for name in ("signed", "unsigned"):
    source, out = Path(sys.argv[1], name), Path(sys.argv[1], f"{name}_out")
    source.mkdir()
    out.mkdir()
    for number in range(4):
        write(source / f"{number}.dcm", number, name == "signed")
    program = Path(sys.executable).with_name("dcm2niix")
    done = subprocess.run([program, "-f", "ct", "-o", out, source], capture_output=True, check=False)
    files = sorted(out.glob("*.nii"))
    shifts = [abs(round(float(nibabel.load(path).affine[1, 2]), 3)) for path in files]
    shown = [f"{path.name} (shift {shift:g} mm)" for path, shift in zip(files, shifts, strict=True)]
    print(f"{name + ':':9} {', '.join(shown)}, status {done.returncode}")
    seen.append(([path.name for path in files], shifts, done.returncode))
expected = [(["ct.nii", "ct_Tilt_1.nii"], [0, 0], 0), (["ct.nii"], [0], 0)]
sys.exit(0 if seen == expected else 1)
PYTHON
