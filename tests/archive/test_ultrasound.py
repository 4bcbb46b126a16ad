"""Volumes of ultrasound: planes placed in a volume of their own (DICOM PS3.3 A.59, C.8.24)."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from .conftest import stacks_of, write

ENHANCED_US = "1.2.840.10008.5.1.4.1.1.6.2"
WITHIN = "positions within its own volume, not in the patient"


def item(**tags):
    ds = Dataset()
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    return ds


def write_volume(path, depths, times=None, patient=None, turned=(1, 0, 0, 0, 1, 0)):
    """An object with a plane at each depth; `patient` gives positions in the patient as well."""
    frames = []
    for n, depth in enumerate(depths):
        time = (times or [0] * len(depths))[n]
        frame = item(
            FrameContentSequence=[item(DimensionIndexValues=[time + 1, n + 1, 1])],
            PlanePositionVolumeSequence=[item(ImagePositionVolume=[-3.0, 0.0, depth])],
            TemporalPositionSequence=[item(TemporalPositionTimeOffset=0.1 * time)],
        )
        if patient:
            frame.PlanePositionSequence = [item(ImagePositionPatient=list(patient[n]))]
        frames.append(frame)
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=[0.3, 0.4])],
        PlaneOrientationVolumeSequence=[item(ImageOrientationVolume=list(turned))],
        ImageDataTypeSequence=[item(DataType="TISSUE_INTENSITY")],
    )
    if patient:
        shared.PlaneOrientationSequence = [item(ImageOrientationPatient=[0, 1, 0, 0, 0, -1])]
    return write(
        path,
        SOPClassUID=ENHANCED_US,
        Modality="US",
        NumberOfFrames=len(depths),
        PixelData=bytes(48 * len(depths)),
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        VolumeFrameOfReferenceUID="1.2.3.9",
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=frames,
    )


def order(stack):
    return [frame.index for frame in stack.frames]


def test_planes_are_ordered_by_their_place_in_the_volume(tmp_path):
    write_volume(tmp_path / "a", [1.0, 0.5, 1.5, 0.0])
    (stack,) = stacks_of(tmp_path)
    assert order(stack) == [3, 1, 0, 2]
    assert [frame.position_mm for frame in stack.frames] == [0.0, 0.5, 1.0, 1.5]
    assert (stack.slice_spacing, stack.pixel_spacing) == (0.5, (0.3, 0.4))


def test_a_volume_says_nothing_of_directions_in_the_patient(tmp_path):
    write_volume(tmp_path / "a", [0.0, 0.5])
    (stack,) = stacks_of(tmp_path)
    assert (stack.orientation, stack.origin, stack.last, stack.plane) == (None, None, None, None)
    assert stack.notes == (WITHIN,)


def test_planes_follow_the_normal_of_the_volume(tmp_path):
    write_volume(tmp_path / "a", [0.0, 0.5, 1.0], turned=(1, 0, 0, 0, -1, 0))
    (stack,) = stacks_of(tmp_path)
    assert order(stack) == [2, 1, 0]


def test_volumes_of_several_times_are_told_apart(tmp_path):
    write_volume(tmp_path / "a", [1.0, 1.0, 0.0, 0.0], times=[0, 1, 1, 0])
    assert [order(stack) for stack in stacks_of(tmp_path)] == [[3, 0], [2, 1]]


def test_a_lost_plane_is_noted(tmp_path):
    write_volume(tmp_path / "a", [0.0, 0.5, 1.0, 2.0, 2.5])
    (stack,) = stacks_of(tmp_path)
    assert stack.notes == (WITHIN, "missing slices")


def test_positions_in_the_patient_come_first(tmp_path):
    patient = [(7, 0, 0), (5, 0, 0), (6, 0, 0)]
    write_volume(tmp_path / "a", [0.0, 1.0, 2.0], patient=patient)
    (stack,) = stacks_of(tmp_path)
    assert (stack.plane, stack.notes) == ("sagittal", ())
    assert {stack.origin, stack.last} == {(7, 0, 0), (5, 0, 0)}


@pytest.mark.parametrize("files", [1, 2])
def test_each_object_has_a_volume_of_its_own(tmp_path, files):
    for n in range(files):
        write_volume(tmp_path / f"{n}", [0.0, 0.5])
        path = tmp_path / f"{n}"
        path.write_bytes(path.read_bytes().replace(b"1.2.3.4.5", b"1.2.3.4.%d" % (n + 6)))
    assert [order(stack) for stack in stacks_of(tmp_path)] == [[0, 1]] * files
