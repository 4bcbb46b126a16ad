#!/bin/sh
# SimpleITK inverts MONOCHROME1 images while it reads them, and still says that they are MONOCHROME1.
#
# In such radiographs the lowest value is white (PS3.3 C.7.6.3.1.2); the pixels themselves are what the
# file stores, and pydicom returns them so. SimpleITK returns the highest value that the stored bits can
# hold, less the pixel's, before it rescales; the header beside the pixels is unchanged. A pipeline that
# inverts by that header, as it must with pydicom, inverts twice, and bone is black.
#
# Seen with Python 3.11, numpy 2.4.6, pydicom 3.0.2 and SimpleITK 2.5.7, for 12 bits stored:
#
#     pydicom    [0, 1, 2, 4095], MONOCHROME1
#     SimpleITK  [4095, 4094, 4093, 0], MONOCHROME1
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
import pydicom
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

image = Dataset()
image.SOPClassUID = DigitalXRayImageStorageForPresentation
image.SOPInstanceUID, image.Modality = generate_uid(), "DX"
image.file_meta = FileMetaDataset()
image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
image.Rows, image.Columns, image.SamplesPerPixel, image.PixelRepresentation = 2, 2, 1, 0
image.PhotometricInterpretation = "MONOCHROME1"
image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
image.RescaleSlope, image.RescaleIntercept = 1, 0
image.PixelData = numpy.array([0, 1, 2, 4095], numpy.uint16).tobytes()
image.save_as(sys.argv[1], enforce_file_format=True)

ours, theirs = pydicom.dcmread(sys.argv[1]), SimpleITK.ReadImage(sys.argv[1])
stored = [int(v) for v in ours.pixel_array.ravel()]
read = [int(v) for v in SimpleITK.GetArrayFromImage(theirs).ravel()]
said = theirs.GetMetaData("0028|0004").strip()
print(f"pydicom    {stored}, {ours.PhotometricInterpretation}")
print(f"SimpleITK  {read}, {said}")
inverted = stored == [0, 1, 2, 4095] and read == [4095, 4094, 4093, 0]
sys.exit(0 if inverted and said == "MONOCHROME1" else 1)
PYTHON
