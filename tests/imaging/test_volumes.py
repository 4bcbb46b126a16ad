import bz2
import gzip
import time

import nibabel
import numpy as np
import pytest

from medscan.archive.types import Kind
from medscan.choices import Plane
from medscan.errors import CorruptError, FileError, TooLargeError, TruncatedError, UnreadableError
from medscan.imaging import Window, measure, read_planes, render
from medscan.imaging.volume import open_volume

from .make import (
    MAX_FILE_BYTES,
    ORIENTATIONS,
    TURNS,
    dicom_series,
    reoriented,
    volume_stack,
    write_nifti,
)

SPACING = (1.0, 1.5, 3.0)


def phantom(dtype=np.int16, low=0, high=1000):
    return np.random.default_rng(1).integers(low, high, (6, 9, 4)).astype(dtype)


def images(stack, window):
    return np.stack([s.image for s in render(stack, stack.frames, 32, window, MAX_FILE_BYTES)])


@pytest.mark.parametrize("plane", Plane)
def test_48_orientations_and_8_dicom_turns_give_the_same_slices(tmp_path, plane):
    volume, window = phantom(), Window(0, 1000)
    expected = images(dicom_series(tmp_path / "d", volume, SPACING, plane), window)
    for number, turn in enumerate(TURNS):
        stack = dicom_series(tmp_path / str(number), volume, SPACING, plane, turn)
        shown = images(stack, window)
        # Ascending along row x column, which an odd number of mirrors turns round.
        assert any(np.array_equal(shown[::d], expected) for d in (1, -1))
    for number, orientation in enumerate(ORIENTATIONS):
        data, affine = reoriented(volume, SPACING, orientation)
        file = write_nifti(tmp_path / f"{number}.nii", data, affine)
        stack = volume_stack(file, affine, data.shape, plane)
        assert np.array_equal(images(stack, window), expected)


@pytest.mark.parametrize("plane", Plane)
def test_a_marker_lights_the_same_place(tmp_path, plane):
    volume = np.zeros((6, 9, 4), dtype=np.int16)
    volume[4, 2, 1] = 1000
    window = Window(0, 1000)
    expected = images(dicom_series(tmp_path / "d", volume, SPACING, plane), window)
    where = np.unravel_index(expected.argmax(), expected.shape)
    for orientation in ORIENTATIONS[::5]:
        data, affine = reoriented(volume, SPACING, orientation)
        stack = volume_stack(
            write_nifti(tmp_path / "m.nii", data, affine), affine, data.shape, plane
        )
        shown = images(stack, window)
        assert np.unravel_index(shown.argmax(), shown.shape) == where


@pytest.mark.parametrize(
    ("modality", "tags", "dtype", "low", "high"),
    [
        ("CT", {"RescaleSlope": "1", "RescaleIntercept": "-1024"}, np.int16, 0, 3000),
        ("MR", {"RescaleSlope": "1.63858", "RescaleIntercept": "0"}, np.uint16, 0, 4000),
    ],
)
@pytest.mark.parametrize("rule", ["percentile:1,99.5", "full", "window:-100,900"])
def test_nifti_of_a_dicom_series_is_shown_alike(tmp_path, modality, tags, dtype, low, high, rule):
    volume = phantom(dtype, low, high)
    series = dicom_series(tmp_path / "d", volume, SPACING, Plane.AXIAL, **tags)
    slope, intercept = float(tags["RescaleSlope"]), float(tags["RescaleIntercept"])
    data, affine = reoriented(volume, SPACING, ORIENTATIONS[7])
    file = write_nifti(tmp_path / "v.nii.gz", data, affine, slope, intercept)
    stack = volume_stack(file, affine, data.shape)
    windows = [measure(s, rule, modality, MAX_FILE_BYTES) for s in (series, stack)]
    assert windows[0].low == pytest.approx(windows[1].low, abs=1e-3)
    assert windows[0].high == pytest.approx(windows[1].high, abs=1e-3)
    shown = [images(s, w) for s, w in zip((series, stack), windows, strict=True)]
    assert np.abs(shown[0] - shown[1]).max() < 1e-6


def planes(stack):
    return list(read_planes(stack, stack.frames, MAX_FILE_BYTES))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "wrong.dat"])
def test_content_decides_not_the_name(tmp_path, name):
    data, affine = phantom(), np.diag([*SPACING, 1])
    write_nifti(tmp_path / "x.nii", data, affine)
    raw = (tmp_path / "x.nii").read_bytes()
    path = tmp_path / name
    path.write_bytes(gzip.compress(raw) if name == "wrong.dat" else raw)
    file = write_nifti(tmp_path / "x.nii", data, affine)
    named = type(file)(name, tmp_path, path.stat().st_size, 0)
    got = planes(volume_stack(named, affine, data.shape))
    assert np.array_equal(got[1].pixels, data[::-1, ::-1, 1].T)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.Nifti1Pair])
def test_nifti_versions_and_pairs(tmp_path, kind):
    data, affine = phantom(), np.diag([*SPACING, 1])
    name = "p.hdr" if kind is nibabel.Nifti1Pair else "p.nii"
    file = write_nifti(tmp_path / name, data, affine, kind=kind)
    got = planes(volume_stack(file, affine, data.shape))
    assert np.array_equal(got[0].pixels, data[::-1, ::-1, 0].T)


def test_four_dimensions_volume_after_volume(tmp_path):
    data = np.random.default_rng(2).random((4, 5, 3, 2)).astype(np.float32)
    affine = np.eye(4)
    stack = volume_stack(write_nifti(tmp_path / "t.nii", data, affine), affine, data.shape)
    got = planes(stack)
    assert len(got) == 6
    assert np.array_equal(got[4].pixels, data[::-1, ::-1, 1, 1].T)


def test_not_finite_voxels_take_the_smallest_value(tmp_path):
    data = np.full((4, 4, 2), 7, dtype=np.float32)
    data[0, 0, 0], data[1, 1, 0], data[2, 2, 0] = np.nan, np.inf, 3
    data[..., 1] = np.nan
    affine = np.eye(4)
    first, second = planes(
        volume_stack(write_nifti(tmp_path / "n.nii", data, affine), affine, data.shape)
    )
    assert first.pixels.min() == 3
    assert first.pixels.max() == 7
    assert not second.pixels.any()


def test_rgb_voxels(tmp_path):
    data = np.zeros((3, 4, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    data["R"], data["G"][0, 0, 0] = 200, 90
    stack = volume_stack(write_nifti(tmp_path / "c.nii", data, np.eye(4)), np.eye(4), data.shape)
    got = planes(stack)[0].pixels
    assert got.shape == (4, 3, 3)
    assert list(got[-1, -1]) == [200, 90, 0]


@pytest.mark.parametrize("name", ["i.mha", "i.mhd", "i.nrrd"])
def test_itk_volumes_equal_nifti(tmp_path, name):
    import SimpleITK

    data, affine = reoriented(phantom(), SPACING, ORIENTATIONS[11])
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(data.T))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    lps = np.diag([-1.0, -1.0, 1.0])
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps @ affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((lps @ affine[:3, 3]).tolist())
    SimpleITK.WriteImage(image, str(tmp_path / name))
    file = write_nifti(tmp_path / "i.nii", data, affine)
    itk = type(file)(name, tmp_path, (tmp_path / name).stat().st_size, 0)
    got = planes(volume_stack(itk, affine, data.shape, kind=Kind.ITK))
    wanted = planes(volume_stack(file, affine, data.shape))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(got, wanted, strict=True))


def broken(tmp_path, raw, max_file_bytes=MAX_FILE_BYTES):
    data = phantom()
    path = tmp_path / "b.nii"
    file = write_nifti(path, data, np.eye(4))
    stack = volume_stack(file, np.eye(4), data.shape)
    path.write_bytes(raw(path.read_bytes()))
    found = list(read_planes(stack, stack.frames, max_file_bytes))
    assert len(found) == len(stack.frames)
    assert all(isinstance(e, FileError) for e in found)
    assert "\n" not in str(found[0])
    return found[0]


def test_broken_volumes_say_why(tmp_path):
    assert isinstance(broken(tmp_path, lambda raw: raw[:-9]), TruncatedError)
    assert isinstance(broken(tmp_path, lambda raw: raw[:300]), CorruptError)
    assert isinstance(broken(tmp_path, lambda raw: gzip.compress(raw)[:-90]), TruncatedError)
    assert isinstance(broken(tmp_path, lambda raw: gzip.compress(raw[:-90])), TruncatedError)
    assert isinstance(broken(tmp_path, lambda raw: raw, max_file_bytes=100), TooLargeError)
    huge = np.array([3, 30000, 30000, 30000], dtype="<i2").tobytes()
    bomb = broken(tmp_path, lambda raw: gzip.compress(raw[:40] + huge + raw[48:]))
    assert isinstance(bomb, TruncatedError)  # no file of its size can unpack to that


def bzip2_nrrd(raw):
    """The voxels of a NIfTI file as an NRRD."""
    i, j, k = phantom().shape
    head = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {i} {j} {k}\nencoding: bzip2\n"
    return f"{head}endian: little\n\n".encode() + bz2.compress(raw[352:])


def as_gzip(raw):
    return gzip.compress(raw, mtime=0)


@pytest.mark.parametrize("packed", [as_gzip, bzip2_nrrd])
def test_one_wrong_bit_in_packed_voxels_is_noticed(tmp_path, packed):
    """Most leave something that can be unpacked: only the checksum at the end tells."""
    kind = Kind.ITK if packed is bzip2_nrrd else Kind.NIFTI
    data = phantom()
    file = write_nifti(tmp_path / "b.nii", data, np.eye(4))
    whole = packed((tmp_path / "b.nii").read_bytes())
    stack = volume_stack(file, np.eye(4), data.shape, kind=kind)

    def read(content):
        (tmp_path / "b.nii").write_bytes(content)
        open_volume.cache_clear()
        return [getattr(p, "pixels", p) for p in read_planes(stack, stack.frames, MAX_FILE_BYTES)]

    right = read(whole)
    first = 150 if kind is Kind.ITK else 10
    for place in np.linspace(first, len(whole) - 1, 60, dtype=int):
        found = read(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        noticed = all(isinstance(each, FileError) for each in found)
        assert noticed or np.array_equal(found, right), place
    assert all(isinstance(each, FileError) for each in read(whole[:-4]))
    assert np.array_equal(read(whole + b"appended"), right)


@pytest.mark.parametrize("size", [400, 500])
@pytest.mark.parametrize("end", [b"", bytes(9), b"\x1f\x8bgarbage", as_gzip(b"")], ids=range(4))
def test_gzip_may_have_several_members(tmp_path, size, end):
    """And anything behind the one with the last voxel."""
    data = phantom()
    file = write_nifti(tmp_path / "m.nii", data, np.eye(4))
    raw = (tmp_path / "m.nii").read_bytes()
    members = [gzip.compress(raw[n : n + size]) for n in range(0, len(raw), size)]
    (tmp_path / "m.nii").write_bytes(b"".join(members) + end)
    got = planes(volume_stack(file, np.eye(4), data.shape))
    assert np.array_equal(got[0].pixels, data[::-1, ::-1, 0].T)


def test_many_members_take_as_long_as_one(tmp_path):
    """BGZF has one for every 64 KiB."""
    data = np.random.default_rng(0).integers(0, 1000, (256, 256, 96)).astype(np.int16)
    file = write_nifti(tmp_path / "m.nii", data, np.eye(4))
    raw = (tmp_path / "m.nii").read_bytes()
    stack, took = volume_stack(file, np.eye(4), data.shape), {}
    for size in (len(raw), 4096):
        members = (gzip.compress(raw[n : n + size], 1) for n in range(0, len(raw), size))
        (tmp_path / "m.nii").write_bytes(b"".join(members))
        open_volume.cache_clear()
        started = time.process_time()
        assert open_volume(stack.frames[0].file, Kind.NIFTI, MAX_FILE_BYTES).voxels.shape
        took[size] = time.process_time() - started
    assert took[4096] < 4 * took[len(raw)] + 0.5


def test_a_vanished_volume_is_unreadable(tmp_path):
    data = phantom()
    stack = volume_stack(write_nifti(tmp_path / "g.nii", data, np.eye(4)), np.eye(4), data.shape)
    (tmp_path / "g.nii").unlink()
    assert isinstance(next(read_planes(stack, stack.frames, MAX_FILE_BYTES)), UnreadableError)
