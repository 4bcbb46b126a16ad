#!/bin/sh
# SimpleITK measures radiographs at the detector even where the file states the size in the patient.
#
# A projection is larger than what it shows. Imager Pixel Spacing is that of the detector; where Pixel
# Spacing is there too and differs, it is corrected for the magnification, or calibrated on an object of
# known size, and measurements are to use it (PS3.3 10.7.1.3). SimpleITK takes the former for digital
# and computed radiographs, mammograms and angiograms, without a word: lengths are too large by the
# magnification, areas by its square.
#
# Seen with Python 3.11, numpy 2.4.6, pydicom 3.0.2 and SimpleITK 2.5.7, for a detector's 0.4 mm and a
# patient's 0.3 mm:
#
#     Digital X-Ray Image Storage - For Presentation              0.4
#     Computed Radiography Image Storage                          0.4
#     Digital Mammography X-Ray Image Storage - For Presentation  0.4
#     X-Ray Angiographic Image Storage                            0.4
#     Secondary Capture Image Storage                             0.3
#
# Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 pydicom==3.0.2 SimpleITK==2.5.7
"$folder/venv/bin/python" - "$folder/v.dcm" <<'PYTHON'
import sys

import numpy
import SimpleITK
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

seen = []
for kind in (
    uid.DigitalXRayImageStorageForPresentation,
    uid.ComputedRadiographyImageStorage,
    uid.DigitalMammographyXRayImageStorageForPresentation,
    uid.XRayAngiographicImageStorage,
    uid.SecondaryCaptureImageStorage,
):
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = kind, uid.generate_uid()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    image.Rows, image.Columns, image.SamplesPerPixel, image.PixelRepresentation = 2, 2, 1, 0
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.ImagerPixelSpacing, image.PixelSpacing = [0.4, 0.4], [0.3, 0.3]
    image.PixelSpacingCalibrationType = "FIDUCIAL"
    image.PixelSpacingCalibrationDescription = "phantom"
    image.PixelData = numpy.zeros((2, 2), numpy.uint16).tobytes()
    image.save_as(sys.argv[1], enforce_file_format=True)
    seen.append(SimpleITK.ReadImage(sys.argv[1]).GetSpacing()[0])
    print(f"{kind.name:58}  {seen[-1]}")
sys.exit(0 if seen == [0.4, 0.4, 0.4, 0.4, 0.3] else 1)
PYTHON
