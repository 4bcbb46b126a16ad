"""Objects of nuclear medicine: frames placed and told apart by their vectors."""

from __future__ import annotations

import random

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import NuclearMedicineImageStorage

from .conftest import stacks_of, write


def write_nuclear(path, frames, first=(-16, -16, 10), turned=(1, 0, 0, 0, 1, 0), **tags):
    """An object without geometry but in its detector information, as cameras write it."""
    detector = Dataset()
    if first is not None:
        detector.ImagePositionPatient = list(first)
    detector.ImageOrientationPatient = list(turned)
    return write(
        path,
        SOPClassUID=NuclearMedicineImageStorage,
        Modality="NM",
        NumberOfFrames=frames,
        PixelData=bytes(48 * frames),
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        DetectorInformationSequence=[detector],
        **tags,
    )


def frames_of(stacks):
    return [[f.index for f in s.frames] for s in stacks]


def test_reconstructed_slices_lie_a_step_apart_from_the_first(tmp_path):
    write_nuclear(tmp_path / "a", 4, SpacingBetweenSlices=3, SliceVector=[1, 2, 3, 4])
    (stack,) = stacks_of(tmp_path)
    assert (stack.origin, stack.last) == ((-16, -16, 10), (-16, -16, 19))
    assert (stack.slice_spacing, stack.plane, stack.notes) == (3, "axial", ())
    assert frames_of([stack]) == [[0, 1, 2, 3]]


def test_a_negative_step_leads_against_the_normal(tmp_path):
    write_nuclear(tmp_path / "a", 4, SpacingBetweenSlices=-3, SliceVector=[1, 2, 3, 4])
    (stack,) = stacks_of(tmp_path)
    assert (stack.last, stack.origin) == ((-16, -16, 10), (-16, -16, 1))
    assert frames_of([stack]) == [[3, 2, 1, 0]]


def test_a_position_of_the_object_itself_counts_as_well(tmp_path):
    path = write_nuclear(tmp_path / "a", 2, None, SpacingBetweenSlices=3, SliceVector=[1, 2])
    (stack,) = stacks_of(tmp_path)
    assert stack.notes == ("no position",)
    write_nuclear(path, 2, None, SpacingBetweenSlices=3, SliceVector=[1, 2])
    ds = Dataset()
    ds.ImagePositionPatient = [1, 2, 3]
    write_nuclear(path, 2, None, SpacingBetweenSlices=3, SliceVector=[1, 2], added=ds)
    assert stacks_of(tmp_path)[0].last == (1, 2, 6)


@pytest.mark.parametrize("vector", ["TimeSlotVector", "RRIntervalVector", "PhaseVector"])
def test_gates_and_phases_are_volumes_in_any_order(tmp_path, vector):
    frames = [(t, s) for t in range(3) for s in range(4)]
    random.Random(2).shuffle(frames)
    write_nuclear(
        tmp_path / "a",
        12,
        SpacingBetweenSlices=3,
        SliceVector=[s + 1 for _, s in frames],
        **{vector: [t + 1 for t, _ in frames]},
    )
    found = [[frames[i] for i in indices] for indices in frames_of(stacks_of(tmp_path))]
    assert found == [[(t, s) for s in range(4)] for t in range(3)]


def test_energy_windows_and_detectors_never_share_a_stack(tmp_path):
    write_nuclear(tmp_path / "a", 4, EnergyWindowVector=[1, 1, 2, 2], DetectorVector=[1, 2, 1, 2])
    stacks = stacks_of(tmp_path)
    assert frames_of(stacks) == [[0], [1], [2], [3]]
    assert {s.notes for s in stacks} == {("no position",)}


def test_frames_of_a_dynamic_stay_one_film(tmp_path):
    write_nuclear(tmp_path / "a", 4, PhaseVector=[1, 1, 2, 2], TimeSliceVector=[1, 2, 1, 2])
    assert frames_of(stacks_of(tmp_path)) == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    "tags",
    [
        {"SliceVector": [1, 2, 3]},
        {"SliceVector": [1, 2, 3, 4], "SpacingBetweenSlices": 0},
        {"SliceVector": [1, 2, 3, 4]},
        {"SpacingBetweenSlices": 3},
    ],
    ids=str,
)
def test_frames_without_all_that_places_them_have_no_position(tmp_path, tags):
    write_nuclear(tmp_path / "a", 4, **tags)
    (stack,) = stacks_of(tmp_path)
    assert stack.notes == ("no position",)
