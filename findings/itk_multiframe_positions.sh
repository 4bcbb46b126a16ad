#!/bin/sh
# SimpleITK stacks the frames of a multi-frame DICOM image in stored order, and calls them 1 mm apart if
# their distances differ.
#
# Frames have a position each and may be stored in any order (PS3.3 C.7.6.16). Where they are not stored
# evenly, SimpleITK neither sorts nor refuses them: the spacing is 1, whatever the positions and the
# slices' thickness say, and no warning is given, unlike for a series of single-frame files. So a gap is
# closed, and a shuffled stack stays shuffled.
#
# Seen with Python 3.11, numpy 2.4.6, pydicom 3.0.2 and SimpleITK 2.5.7:
#
#     frames at 0, 5, 10 mm: read at 0, 5, 10
#     frames at 0, 5, 20 mm: read at 0, 1, 2
#     frames at 0, 10, 5 mm: read at 0, 1, 2
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
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid


def item(**values):
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def write(path, positions):
    image = item(SOPClassUID=EnhancedCTImageStorage, SOPInstanceUID=generate_uid(), Modality="CT")
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.Rows, image.Columns, image.NumberOfFrames, image.SamplesPerPixel = 4, 4, len(positions), 1
    image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    plane = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    measures = item(PixelSpacing=[1, 1], SliceThickness=5)
    shared = item(PlaneOrientationSequence=[plane], PixelMeasuresSequence=[measures])
    image.SharedFunctionalGroupsSequence = [shared]
    image.PerFrameFunctionalGroupsSequence = [
        item(
            FrameContentSequence=[item(StackID="1", InStackPositionNumber=sorted(positions).index(z) + 1)],
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])],
        )
        for z in positions
    ]
    image.PixelData = numpy.zeros((len(positions), 4, 4), numpy.uint16).tobytes()
    image.save_as(path, enforce_file_format=True)


seen = []
for positions in ((0, 5, 10), (0, 5, 20), (0, 10, 5)):
    write(sys.argv[1], positions)
    volume = SimpleITK.ReadImage(sys.argv[1])
    read = [volume.TransformIndexToPhysicalPoint((0, 0, number))[2] for number in range(3)]
    there, here = (", ".join(f"{z:g}" for z in places) for places in (positions, read))
    print(f"frames at {there} mm: read at {here}")
    seen.append(read)
sys.exit(0 if seen == [[0, 5, 10], [0, 1, 2], [0, 1, 2]] else 1)
PYTHON
