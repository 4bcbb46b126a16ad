#!/bin/sh
# highdicom's frames of a CT or MR image are in other units than pydicom's and SimpleITK's once the
# image has a Real World Value Mapping.
#
# An image may have both a rescale and a mapping to real-world values (PS3.3 C.7.6.16.2.11), which are
# independent of each other; window and level refer to the rescale. `get_frame` applies the mapping in
# place of the rescale unless told not to, while pydicom's `apply_modality_lut` and SimpleITK rescale. A
# threshold or a window that fits one reader's numbers is wrong for the other's.
#
# Seen with Python 3.11, numpy 2.4.6, pydicom 3.0.2, SimpleITK 2.5.7 and highdicom 0.28.2, for an MR
# image that stores 0 to 3, with a slope of 2 and an intercept of -5, and a mapping of 0.25 x + 0.5:
#
#     pydicom                                    [-5.0, -3.0, -1.0, 1.0]
#     SimpleITK                                  [-5.0, -3.0, -1.0, 1.0]
#     highdicom                                  [0.5, 0.75, 1.0, 1.25]
#     highdicom, apply_real_world_transform off  [-5.0, -3.0, -1.0, 1.0]
#
# Exits with status 1 once this is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet numpy==2.4.6 pydicom==3.0.2 SimpleITK==2.5.7 highdicom==0.28.2
"$folder/venv/bin/python" - "$folder/v.dcm" <<'PYTHON'
import sys
import warnings

import highdicom
import numpy
import pydicom
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

warnings.simplefilter("ignore")  # highdicom warns of attributes of patient and study that lack
image = Dataset()
image.SOPClassUID, image.SOPInstanceUID, image.Modality = MRImageStorage, generate_uid(), "MR"
image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
image.file_meta = FileMetaDataset()
image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
image.Rows, image.Columns, image.SamplesPerPixel = 2, 2, 1
image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
image.PixelSpacing, image.SliceThickness = [1, 1], 5
image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
image.RescaleSlope, image.RescaleIntercept, image.RescaleType = 2, -5, "US"
image.RealWorldValueMappingSequence = [
    highdicom.pm.RealWorldValueMapping(
        lut_label="map", lut_explanation="map", unit=codes.UCUM.NoUnits,
        value_range=(0, 65535), intercept=0.5, slope=0.25,
    )
]
image.PixelData = numpy.arange(4, dtype=numpy.uint16).tobytes()
image.save_as(sys.argv[1], enforce_file_format=True)

header, frames = pydicom.dcmread(sys.argv[1]), highdicom.imread(sys.argv[1])
seen = {
    "pydicom": apply_modality_lut(header.pixel_array, header),
    "SimpleITK": SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(sys.argv[1])),
    "highdicom": frames.get_frame(1),
    "highdicom, apply_real_world_transform off": frames.get_frame(1, apply_real_world_transform=False),
}
seen = {name: [float(v) for v in values.ravel()] for name, values in seen.items()}
for name, values in seen.items():
    print(f"{name:41} ", values)
rescaled, mapped = [-5, -3, -1, 1], [0.5, 0.75, 1, 1.25]
sys.exit(0 if list(seen.values()) == [rescaled, rescaled, mapped, rescaled] else 1)
PYTHON
