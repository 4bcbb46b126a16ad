"""Volumes of the same places, told apart by what their headers say."""

from __future__ import annotations

import random
import struct

import pytest
from pydicom.dataset import Dataset

from medscan.archive.divide import BY_ORDER

from .conftest import stacks_of, write

SLICES, VOLUMES = 8, 3


def private(group, creator, vr, elements):
    """Elements of a private block, as a function of the volume."""

    def tags(volume):
        ds = Dataset()
        block = ds.private_block(group, creator, create=True)
        for element, values in elements.items():
            block.add_new(element, vr, values[volume])
        return ds

    return tags


def place(number):
    return divmod(number, SLICES)


def write_volumes(root, tags, lost=(), numbers=None, z=lambda slice_: 2.0 * slice_):
    """Volumes of slices without those that are lost; file names say volume and slice."""
    shuffled = random.Random(5).sample(range(1000), VOLUMES * SLICES)
    for n in range(VOLUMES * SLICES):
        volume, slice_ = place(n)
        if (volume, slice_) in lost:
            continue
        values = tags(volume, slice_)
        path = root / f"{volume}{slice_}"
        added = values if isinstance(values, Dataset) else Dataset()
        write(
            path,
            SOPInstanceUID=f"1.2.3.{n + 1}",
            InstanceNumber=numbers(volume, slice_) if numbers else shuffled[n],
            ImagePositionPatient=[0, 0, z(slice_)],
            **({} if isinstance(values, Dataset) else values),
            added=added,
        )


def members(stack):
    return [f.file.path for f in stack.frames]


def assert_whole(root, lost=()):
    """Each volume has its own slices in order, and only one that lost a slice says so."""
    stacks = {members(s)[0][0]: s for s in stacks_of(root)}
    assert len(stacks) == VOLUMES
    for volume in range(VOLUMES):
        stack = stacks[str(volume)]
        kept = [s for s in range(SLICES) if (volume, s) not in lost]
        assert members(stack) == [f"{volume}{s}" for s in kept]
        inner = any(v == volume and 0 < s < SLICES - 1 for v, s in lost)
        assert stack.notes == (("missing slices",) if inner else ())


CUES = {
    "temporal position": lambda v: {"TemporalPositionIdentifier": v + 1},
    "acquisition number": lambda v: {"AcquisitionNumber": v + 4},
    "acquisition time": lambda v: {"AcquisitionTime": f"10101{v}.5"},
    "acquisition date and time": lambda v: {"AcquisitionDateTime": f"2024010{v + 1}101010"},
    "content time": lambda v: {"ContentTime": f"1{v}"},
    "frame reference time": lambda v: {"FrameReferenceTime": str(v * 1000.5)},
    "flip angle": lambda v: {"FlipAngle": ("5", "10", "20")[v]},
    "inversion time": lambda v: {"InversionTime": str(100 * v + 50)},
    "repetition time": lambda v: {"RepetitionTime": str(100 * v + 50)},
    "trigger time": lambda v: {"TriggerTime": str(33.3 * v)},
    "tube voltage": lambda v: {"KVP": str(80 + 20 * v)},
    "slice thickness": lambda v: {"SliceThickness": str(v + 1)},
    "kernel": lambda v: {"ConvolutionKernel": f"B{v + 3}0f"},
    "coil": lambda v: {"ReceiveCoilName": f"HEAD {v}"},
    "exposure": lambda v: {"IrradiationEventUID": f"1.2.3.{v + 1}"},
    "b-value": lambda v: {"DiffusionBValue": 500.0 * v},
    "gradient": lambda v: {
        "DiffusionBValue": 800.0,
        "DiffusionGradientOrientation": [float(v == axis) for axis in range(3)],
    },
    "Siemens sequence": lambda v: {"SequenceName": ("*ep_b0", "*ep_b800#1", "*ep_b800#2")[v]},
    "Siemens b-value": private(0x19, "SIEMENS MR HEADER", "IS", {0x0C: (0, 400, 800)}),
    "GE b-value": private(
        0x43, "GEMS_PARM_01", "IS", {0x39: ([0, 8], [1_000_000_400, 8], [1_000_000_800, 8])}
    ),
    "Philips b-value": private(0x2001, "Philips Imaging DD 001", "FL", {0x03: (0.0, 4e2, 8e2)}),
    "United Imaging b-value": private(0x65, "Image Private Header", "FD", {0x09: (0.0, 4e2, 8e2)}),
    "b-value of unknown VR": private(
        0x65, "Image Private Header", "UN", {0x09: [struct.pack("<d", b) for b in (0, 400, 800)]}
    ),
}


@pytest.mark.parametrize("lost", [(), ((0, 3),), ((1, 0), (2, 7))], ids=str)
@pytest.mark.parametrize("cue", CUES)
def test_a_lost_slice_leaves_its_gap_in_its_own_volume(tmp_path, cue, lost):
    write_volumes(tmp_path, lambda v, _: CUES[cue](v), lost)
    assert_whole(tmp_path, lost)


def test_private_directions_tell_volumes_of_one_b_value_apart(tmp_path):
    unit = [[float(v == axis) for axis in range(3)] for v in range(3)]
    tags = private(0x19, "SIEMENS MR HEADER", "FD", {0x0C: (800.0,) * 3, 0x0E: unit})
    write_volumes(tmp_path, lambda v, _: tags(v), [(0, 3)])
    assert_whole(tmp_path, [(0, 3)])


@pytest.mark.parametrize("lost", [(), ((0, 3),), ((0, 0),), ((1, 7), (2, 0))], ids=str)
@pytest.mark.parametrize(
    "numbers",
    [
        lambda v, s: v * SLICES + s + 1,
        lambda v, s: s * VOLUMES + v + 1,
        lambda v, s: v * SLICES - s + 8,
    ],
    ids=["volume by volume", "slice by slice", "from the last slice"],
)
def test_instance_numbers_tell_where_nothing_else_does(tmp_path, numbers, lost):
    write_volumes(tmp_path, lambda v, s: {}, lost, numbers)
    assert_whole(tmp_path, lost)


@pytest.mark.parametrize("lost", [(), ((0, 3),), ((1, 0),)], ids=str)
def test_times_that_jitter_from_slice_to_slice(tmp_path, lost):
    times = random.Random(1)
    write_volumes(tmp_path, lambda v, s: {"TriggerTime": f"{40 * v + times.random():.2f}"}, lost)
    assert_whole(tmp_path, lost)


@pytest.mark.parametrize("lost", [(), ((0, 3),), ((1, 7),)], ids=str)
def test_slices_acquired_one_after_another(tmp_path, lost):
    write_volumes(
        tmp_path, lambda v, s: {"AcquisitionTime": f"1010{2 * (v * SLICES + s):02}"}, lost
    )
    assert_whole(tmp_path, lost)


def test_settings_tell_volumes_apart_though_every_place_lost_a_slice(tmp_path):
    lost = [(s % VOLUMES, s) for s in range(SLICES)]
    write_volumes(tmp_path, lambda v, _: CUES["flip angle"](v), lost)
    assert sorted(members(s) for s in stacks_of(tmp_path)) == [
        [f"{v}{s}" for s in range(SLICES) if (v, s) not in lost] for v in range(VOLUMES)
    ]


def test_rounded_settings_do_not_tear_a_volume_apart(tmp_path):
    write_volumes(tmp_path, lambda v, s: {"FlipAngle": f"{10 * v + 10 + 1e-4 * (s % 2)}"})
    assert_whole(tmp_path)


@pytest.mark.parametrize("tag", ["AcquisitionNumber", "TemporalPositionIdentifier"])
def test_a_cue_that_counts_slices_is_no_cue(tmp_path, tag):
    """As many places as volumes: the number of values alone does not tell."""
    number = 0
    for v in range(4):
        for s in range(4):
            number += 1
            write(
                tmp_path / f"{v}{s}",
                SOPInstanceUID=f"1.2.{number}",
                InstanceNumber=number,
                ImagePositionPatient=[0, 0, s],
                **{tag: s + 1},
            )
    assert [members(k) for k in stacks_of(tmp_path)] == [
        [f"{v}{s}" for s in range(4)] for v in range(4)
    ]


def test_two_cues_together(tmp_path):
    number = 0
    for b in (0.0, 800.0):
        for t in range(2):
            for s in range(3):
                number += 1
                write(
                    tmp_path / f"{b:.0f}{t}{s}",
                    SOPInstanceUID=f"1.2.{number}",
                    InstanceNumber=(7 * number) % 13,
                    ImagePositionPatient=[0, 0, s],
                    DiffusionBValue=b,
                    AcquisitionTime=f"10000{t}",
                )
    found = {tuple(name[:-1] for name in members(k)) for k in stacks_of(tmp_path)}
    assert found == {(name,) * 3 for name in ("00", "01", "8000", "8001")}


def write_offset(root, offset, **tags):
    number = 0
    for volume in (1, 2):
        for slice_ in range(6):
            number += 1
            write(
                root / f"{volume}{slice_}",
                SOPInstanceUID=f"1.2.{number}",
                InstanceNumber=number,
                ImagePositionPatient=[0, 0, 2 * slice_ + offset * (volume - 1)],
                **{tag: values[volume - 1] for tag, values in tags.items()},
            )


@pytest.mark.parametrize("tags", [{"AcquisitionNumber": (1, 2)}, {"KVP": ("80", "140")}], ids=str)
def test_volumes_whose_slices_lie_between_one_another_are_told_apart(tmp_path, tags):
    write_offset(tmp_path, 0.3, **tags)
    stacks = stacks_of(tmp_path)
    assert [members(s) for s in stacks] == [[f"{v}{s}" for s in range(6)] for v in (1, 2)]
    assert [(s.slice_spacing, s.notes) for s in stacks] == [(2, ()), (pytest.approx(2), ())]


@pytest.mark.parametrize(
    ("offset", "tags", "notes"),
    [
        (1, {"AcquisitionNumber": (1, 2)}, ()),  # one even stack, acquired in two passes
        (0.3, {}, ("uneven spacing",)),  # nothing says that these are two
        (13, {"AcquisitionNumber": (1, 2)}, ("uneven spacing",)),  # one behind the other
    ],
    ids=str,
)
def test_what_may_be_one_volume_stays_one(tmp_path, offset, tags, notes):
    write_offset(tmp_path, offset, **tags)
    assert [(len(s.frames), s.notes) for s in stacks_of(tmp_path)] == [(12, notes)]


def test_where_only_order_is_left_uneven_counts_are_noted(series):
    root = series([0, 1, 2, 3])
    series([1], "b", InstanceNumber=3)
    stacks = stacks_of(root)
    assert sorted(len(s.frames) for s in stacks) == [1, 4]
    assert {s.notes for s in stacks} == {(BY_ORDER,)}


# --- enhanced objects --------------------------------------------------------------------------


def sequence_of(keyword, **values):
    item, outer = Dataset(), Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    setattr(outer, keyword, [item])
    return outer


def diffusion(v):
    outer = sequence_of("MRDiffusionSequence", DiffusionBValue=900.0 if v else 0.0)
    if v:
        item = outer.MRDiffusionSequence[0]
        direction = sequence_of(
            "DiffusionGradientDirectionSequence",
            DiffusionGradientOrientation=[float(v == 1), float(v == 2), 0.0],
        )
        item.update(direction)
    return outer


def content(v, s=0):
    return sequence_of("FrameContentSequence", DimensionIndexValues=[1, s + 1, v + 1])


FRAMES = {
    "dimensions": content,
    "temporal position": lambda v: sequence_of("FrameContentSequence", TemporalPositionIndex=v + 1),
    "acquisition": lambda v: sequence_of("FrameContentSequence", FrameAcquisitionNumber=v + 1),
    "acquisition time": lambda v: sequence_of(
        "FrameContentSequence", FrameAcquisitionDateTime=f"2024010110101{v}.25"
    ),
    "diffusion": diffusion,
    "heart": lambda v: sequence_of(
        "CardiacSynchronizationSequence", NominalCardiacTriggerDelayTime=40.0 * v
    ),
    "breath": lambda v: sequence_of(
        "RespiratorySynchronizationSequence", NominalPercentageOfRespiratoryPhase=25.0 * v
    ),
    "flip angle": lambda v: sequence_of(
        "MRTimingAndRelatedParametersSequence", FlipAngle=str(5 * v + 5)
    ),
    "inversion": lambda v: sequence_of("MRModifierSequence", InversionTimes=[50.0 * v + 50]),
    "flow": lambda v: sequence_of(
        "MRVelocityEncodingSequence", VelocityEncodingDirection=[float(v == n) for n in range(3)]
    ),
    "tube voltage": lambda v: sequence_of("CTXRayDetailsSequence", KVP=str(80 + 20 * v)),
    "kernel": lambda v: sequence_of("CTReconstructionSequence", ConvolutionKernel=f"B{v + 3}0f"),
    "of the slices it was converted from": lambda v: sequence_of(
        "UnassignedPerFrameConvertedAttributesSequence", AcquisitionTime=f"10101{v}"
    ),
}


def write_enhanced(path, frames, tags, **more):
    per_frame = []
    for volume, slice_ in frames:
        item = sequence_of("PlanePositionSequence", ImagePositionPatient=[0, 0, 2.0 * slice_])
        item.update(tags(volume, slice_) if tags is content else tags(volume))
        per_frame.append(item)
    write(
        path,
        NumberOfFrames=len(frames),
        PixelData=bytes(48 * len(frames)),
        ImagePositionPatient=None,
        PerFrameFunctionalGroupsSequence=per_frame,
        **more,
    )


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("cue", FRAMES)
def test_frames_of_an_enhanced_object_may_have_any_order(tmp_path, cue, shuffled):
    frames = [place(n) for n in range(VOLUMES * SLICES)]
    if shuffled:
        random.Random(3).shuffle(frames)
    write_enhanced(tmp_path / "a", frames, FRAMES[cue])
    stacks = stacks_of(tmp_path)
    found = [[frames[f.index] for f in s.frames] for s in stacks]
    assert sorted(found) == [[(v, s) for s in range(SLICES)] for v in range(VOLUMES)]
    assert {s.notes for s in stacks} == {()}
    if cue not in ("flow", "diffusion", "kernel"):  # these have no order
        assert found == sorted(found)


def test_two_enhanced_objects_of_one_series_are_two_sets_of_volumes(tmp_path):
    frames = [place(n) for n in range(2 * SLICES)]
    random.Random(3).shuffle(frames)
    for n, name in enumerate("ab"):
        write_enhanced(tmp_path / name, frames, content, SOPInstanceUID=f"1.2.{n + 1}")
    found = [[(f.file.path, *frames[f.index]) for f in s.frames] for s in stacks_of(tmp_path)]
    assert sorted(found) == [[(p, v, s) for s in range(SLICES)] for p in "ab" for v in (0, 1)]


@pytest.mark.parametrize(
    ("group", "keyword", "values"),
    [
        ("MRImageFrameTypeSequence", "ComplexImageComponent", ("MAGNITUDE", "PHASE")),
        ("MRArterialSpinLabelingSequence", "ASLContext", ("LABEL", "CONTROL")),
    ],
)
def test_kinds_of_frames_never_share_a_stack(tmp_path, group, keyword, values):
    """Even where no position repeats."""
    write_enhanced(
        tmp_path / "a",
        [(n % 2, n) for n in range(6)],
        lambda v: sequence_of(group, **{keyword: values[v]}),
    )
    found = sorted([f.index for f in s.frames] for s in stacks_of(tmp_path))
    assert found == [[0, 2, 4], [1, 3, 5]]
