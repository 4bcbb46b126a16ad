#!/bin/sh
# Three readers give three values for a multi-frame DICOM image whose rescale differs from frame to
# frame, two of them wrong and silent.
#
# In enhanced images the slope and the intercept lie in the functional groups, one pair a frame (PS3.3
# C.7.6.16.2.9), as enhanced PET images need it. pydicom's `apply_modality_lut` looks for them beside the
# pixels, finds none and returns the stored values. SimpleITK rescales every frame by the first
# frame's. highdicom rescales each by its own.
#
# Seen with Python 3.11, numpy 2.4.6, pydicom 3.0.2, SimpleITK 2.5.7 and highdicom 0.28.2, for frames
# that store 100, with slopes of 2, 3 and 4:
#
#     pydicom    [100, 100, 100]
#     SimpleITK  [200, 200, 200]
#     highdicom  [200, 300, 400]
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
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

warnings.simplefilter("ignore")  # highdicom warns of attributes of patient and study that lack


def item(**values):
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def frame(number, slope):
    rescale = item(RescaleSlope=slope, RescaleIntercept=0, RescaleType="US")
    return item(
        FrameContentSequence=[item(DimensionIndexValues=[number])],
        PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 5 * number])],
        PixelValueTransformationSequence=[rescale],
    )


image = item(SOPClassUID=EnhancedCTImageStorage, SOPInstanceUID=generate_uid(), Modality="CT")
image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
image.file_meta = FileMetaDataset()
image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
image.Rows, image.Columns, image.NumberOfFrames, image.SamplesPerPixel = 4, 4, 3, 1
image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
plane = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
measures = item(PixelSpacing=[1, 1], SliceThickness=5)
shared = item(PlaneOrientationSequence=[plane], PixelMeasuresSequence=[measures])
image.SharedFunctionalGroupsSequence = [shared]
image.PerFrameFunctionalGroupsSequence = [frame(1, 2), frame(2, 3), frame(3, 4)]
image.PixelData = numpy.full((3, 4, 4), 100, numpy.uint16).tobytes()
image.save_as(sys.argv[1], enforce_file_format=True)

header = pydicom.dcmread(sys.argv[1])
seen = {
    "pydicom": apply_modality_lut(header.pixel_array, header),
    "SimpleITK": SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(sys.argv[1])),
    "highdicom": highdicom.imread(sys.argv[1]).get_frames(),
}
seen = {name: [int(v) for v in frames[:, 0, 0]] for name, frames in seen.items()}
for name, values in seen.items():
    print(f"{name:9} ", values)
sys.exit(0 if list(seen.values()) == [[100] * 3, [200] * 3, [200, 300, 400]] else 1)
PYTHON
