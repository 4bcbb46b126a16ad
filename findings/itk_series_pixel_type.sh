#!/bin/sh
# SimpleITK cuts the values of a DICOM series to whole numbers, or wraps them, if those of its first
# slice happen to be whole or to have no sign.
#
# Slices may have a rescale each. `ImageSeriesReader` takes the type of the whole volume from the first
# slice: where that one has a slope of 1 and an intercept of 0, unsigned integers of 16 bits. The others
# are rescaled by their own slopes, but fractions are then cut off, and negative values come out near
# 65536. Read one by one, the same slices are right. There is no warning.
#
# Seen with Python 3.11, numpy 2.4.6, pydicom 3.0.2 and SimpleITK 2.5.7, for slices that all store 3:
#
#     slope 1, 0.5, 1.5, by one        [3.0, 1.5, 4.5]
#     slope 1, 0.5, 1.5, as a series   [3.0, 1.0, 4.0]
#     intercept 0, -10, 0, by one      [3.0, -7.0, 3.0]
#     intercept 0, -10, 0, as a series [3.0, 65529.0, 3.0]
#
# `SetOutputPixelType(sitkFloat64)` avoids it. Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 pydicom==3.0.2 SimpleITK==2.5.7
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import numpy
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid


def write(number, slope, intercept):
    image = Dataset()
    image.SOPClassUID = PositronEmissionTomographyImageStorage
    image.SOPInstanceUID, image.Modality = generate_uid(), "PT"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.Rows, image.Columns, image.SamplesPerPixel, image.PixelRepresentation = 2, 2, 1, 0
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelSpacing, image.SliceThickness = [1, 1], 5
    image.ImagePositionPatient = [0, 0, 5 * number]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.RescaleSlope, image.RescaleIntercept = slope, intercept
    image.PixelData = numpy.full((2, 2), 3, numpy.uint16).tobytes()
    image.save_as(f"{sys.argv[1]}/{number}.dcm", enforce_file_format=True)
    return f"{sys.argv[1]}/{number}.dcm"


def values(image):
    return [float(v) for v in SimpleITK.GetArrayFromImage(image)[:, 0, 0]]


seen = []
for name, rescales in {
    "slope 1, 0.5, 1.5": ((1, 0), (0.5, 0), (1.5, 0)),
    "intercept 0, -10, 0": ((1, 0), (1, -10), (1, 0)),
}.items():
    paths = [write(number, *rescale) for number, rescale in enumerate(rescales)]
    single = [values(SimpleITK.ReadImage(path))[0] for path in paths]
    series = values(SimpleITK.ReadImage(paths))
    print(f"{name + ', by one':32} {single}")
    print(f"{name + ', as a series':32} {series}")
    seen += [single, series]
sys.exit(0 if seen == [[3, 1.5, 4.5], [3, 1, 4], [3, -7, 3], [3, 65529, 3]] else 1)
PYTHON
