"""What archives do to series, rule by rule, where the other files of this folder do not."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset

from medscan.archive import Reason, index
from medscan.imaging import read_planes

from .conftest import stacks_of, write

PLANES = {
    "axial": [1, 0, 0, 0, 1, 0],
    "coronal": [1, 0, 0, 0, 0, -1],
    "sagittal": [0, 1, 0, 0, 0, -1],
}
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
MAX_FILE_BYTES = 2**26


def item(**tags):
    ds = Dataset()
    for name, value in tags.items():
        setattr(ds, name, value)
    return ds


def enhanced(path, frames, **tags):
    """A multi-frame object; each frame has position, orientation, stack and time."""
    groups = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=list(place))],
            PlaneOrientationSequence=[item(ImageOrientationPatient=turn)],
            FrameContentSequence=[item(StackID=stack, TemporalPositionIndex=time)],
        )
        for place, turn, stack, time in frames
    ]
    shared = item(PixelMeasuresSequence=[item(PixelSpacing=[1, 1])])
    plain = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))
    write(
        path,
        SOPClassUID=ENHANCED_MR,
        NumberOfFrames=len(frames),
        PerFrameFunctionalGroupsSequence=groups,
        SharedFunctionalGroupsSequence=[shared],
        PixelData=bytes(48 * len(frames)),
        **(plain | tags),
    )


def numbers(stack):
    return [f.index for f in stack.frames]


def test_a_scout_of_three_planes_is_three_stacks(series):
    for n, turn in enumerate(PLANES.values()):
        for k in range(2):
            place = [0, 0, 0]
            place[2 - n] = 10 * k
            root = series(
                [0], f"{n}{k}", ImageOrientationPatient=turn, ImagePositionPatient=place,
                SOPInstanceUID=f"1.2.3.{n}.{k + 1}", InstanceNumber=2 * n + k,
            )  # fmt: skip
    stacks = stacks_of(root)
    assert sorted(s.plane.value for s in stacks) == sorted(PLANES)
    assert [len(s.frames) for s in stacks] == [2, 2, 2]


def test_a_scout_of_three_planes_in_one_file_is_three_stacks(tmp_path):
    enhanced(
        tmp_path / "e",
        [((0, 0, 10 * k), turn, "1", 1) for k in range(2) for turn in PLANES.values()],
    )
    assert sorted((s.plane.value, numbers(s)) for s in stacks_of(tmp_path)) == [
        ("axial", [0, 3]),
        ("coronal", [1, 4]),
        ("sagittal", [2, 5]),
    ]


def test_frames_of_an_enhanced_file_are_ordered_by_place_whatever_they_are_numbered(tmp_path):
    axial = PLANES["axial"]
    enhanced(tmp_path / "e", [((0, 0, z), axial, "1", 1) for z in (4, 0, 6, 2)])
    (stack,) = stacks_of(tmp_path)
    assert numbers(stack) == [1, 3, 0, 2]
    assert (stack.slice_spacing, stack.notes) == (2.0, ())


def test_stacks_and_times_of_an_enhanced_file_are_kept_apart(tmp_path):
    axial = PLANES["axial"]
    frames = [
        ((0, 0, z), axial, name, time)
        for time in (1, 2)
        for name, start in (("1", 0), ("2", 100))
        for z in (start, start + 3)
    ]
    enhanced(tmp_path / "e", frames)
    assert [numbers(s) for s in stacks_of(tmp_path)] == [[0, 1], [4, 5], [2, 3], [6, 7]]


def test_time_within_echoes_is_divided(tmp_path):
    number = 0
    for echo in (10, 20):
        for time in (1, 2):
            for z in range(3):
                number += 1
                write(
                    tmp_path / f"I{number}",
                    SOPInstanceUID=f"1.2.{number}",
                    InstanceNumber=number,
                    EchoTime=str(echo),
                    TemporalPositionIdentifier=time,
                    ImagePositionPatient=[0, 0, z],
                )
    found = [[f.file.path for f in s.frames] for s in stacks_of(tmp_path)]
    assert found == [[f"I{3 * k + n}" for n in (1, 2, 3)] for k in range(4)]


def test_a_series_split_over_folders_is_one(series):
    root = series([0, 4, 8], "a")
    series([2, 6, 10], "b/deep")
    (stack,) = stacks_of(root)
    assert [f.position_mm for f in stack.frames] == [0, 2, 4, 6, 8, 10]
    assert stack.notes == ()


def test_numbers_against_the_order_do_not_turn_it(series):
    root = series([10, 5, 0])
    (stack,) = stacks_of(root)
    assert [f.position_mm for f in stack.frames] == [0, 5, 10]


def test_a_scout_within_a_series_is_set_aside(series):
    root = series([0, 1, 2])
    series([50], "b", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    catalogue = index([root])
    assert [o.reason for o in catalogue.set_aside] == [Reason.LOCALIZER]
    assert len(catalogue.studies[0].series[0].stacks[0].frames) == 3


def test_without_position_or_number_the_path_decides(series):
    root = series([0] * 11, ImagePositionPatient=None, InstanceNumber=None)
    (stack,) = stacks_of(root)
    names = [f.file.path.rpartition("/")[2] for f in stack.frames]
    assert names == sorted(f"I{n}" for n in range(11))
    assert stack.notes == ("no position",)


def test_slice_location_is_no_position(series):
    root = series([0, 0, 0], ImagePositionPatient=None, SliceLocation=5)
    (stack,) = stacks_of(root)
    assert [f.position_mm for f in stack.frames] == [None] * 3


def test_a_stale_dicomdir_is_ignored_and_archives_are_named(tmp_path):
    gone = item(DirectoryRecordType="IMAGE", ReferencedFileID=["GONE", "I1"])
    root = write(
        tmp_path / "DICOMDIR",
        SOPClassUID="1.2.840.10008.1.3.10",
        DirectoryRecordSequence=[gone],
        PixelData=None,
    ).parent
    write(root / "unlisted")
    with zipfile.ZipFile(root / "a.zip", "w") as archive:
        archive.writestr("x", b"1")
    with tarfile.open(root / "b.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
    (root / "c.tgz").write_bytes(gzip.compress((root / "b.tar").read_bytes()))
    catalogue = index([root])
    assert {o.file.path: (o.reason, o.detail) for o in catalogue.set_aside} == {
        "DICOMDIR": (Reason.NOT_AN_IMAGE, "a DICOMDIR"),
        "a.zip": (Reason.NOT_AN_IMAGE, "a zip archive"),
        "b.tar": (Reason.NOT_AN_IMAGE, "a tar archive"),
        "c.tgz": (Reason.NOT_AN_IMAGE, "gzip-compressed: a tar archive"),
    }
    (study,) = catalogue.studies
    assert [f.path for f in study.files()] == ["unlisted"]


VOXELS = np.arange(60, dtype=np.int16).reshape(3, 4, 5)


def first_plane(folder):
    (stack,) = stacks_of(folder)
    (plane,) = read_planes(stack, stack.frames[:1], MAX_FILE_BYTES)
    return plane


@pytest.mark.parametrize(
    "names",
    [("p.hdr", "p.img"), ("p.hdr", "p.IMG"), ("p.hdr", "p.img.gz"), ("p.hdr.gz", "p.img.gz")],
)
def test_pairs_are_read_however_they_are_packed(tmp_path, names):
    nib.save(nib.Nifti1Pair(VOXELS, np.eye(4)), tmp_path / "x.hdr")
    for name, source in zip(names, ("x.hdr", "x.img"), strict=True):
        content = (tmp_path / source).read_bytes()
        (tmp_path / source).unlink()
        (tmp_path / name).write_bytes(gzip.compress(content) if name[-2:] == "gz" else content)
    assert np.array_equal(first_plane(tmp_path).pixels, VOXELS[::-1, ::-1, 0].T)
    catalogue = index([tmp_path])
    assert {c.path: h.path for c, h in catalogue.companions.items()} == {names[1]: names[0]}


@pytest.mark.parametrize("scale", [(np.nan, np.nan), (0, 7), (2, -3), (1, 0), (0.5, np.nan)])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32])
def test_scaling_means_what_nibabel_takes_it_for(tmp_path, scale, dtype):
    image = nib.Nifti1Image(VOXELS.astype(dtype), np.eye(4))
    nib.save(image, tmp_path / "v.nii")
    content = bytearray((tmp_path / "v.nii").read_bytes())
    content[112:120] = np.array(scale, "<f4").tobytes()
    (tmp_path / "v.nii").write_bytes(content)
    if np.isnan(scale[1]):  # nibabel refuses a slope without an intercept; ITK takes 0 for it
        content[116:120] = bytes(4)
        (tmp_path / "x.nii").write_bytes(content)
    wanted = nib.load(tmp_path / ("x.nii" if np.isnan(scale[1]) else "v.nii")).get_fdata()
    (tmp_path / "x.nii").unlink(missing_ok=True)
    assert np.array_equal(first_plane(tmp_path).pixels, wanted[::-1, ::-1, 0].T)
