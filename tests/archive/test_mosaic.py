"""Siemens mosaics, as nibabel cuts them."""

from __future__ import annotations

import struct
import warnings

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medscan.archive import Reason, index
from medscan.imaging import read_planes

from .conftest import outcome, rotation, stacks_of, write

MAX_FILE_BYTES = 2**26
TILE = (4, 6)


def csa(**tags):
    """A CSA2 header; each value is a list of texts."""
    found = b"SV10\4\3\2\1" + struct.pack("<II", len(tags), 77)
    for name, values in tags.items():
        items = [v.encode() + b"\0" for v in values]
        vr = b"US" if name.startswith("Number") else b"FD"
        found += struct.pack("<64si4siii", name.encode(), len(items), vr, 6, len(items), 77)
        for item in items:
            padded = item.ljust(-(-len(item) // 4) * 4, b"\0")
            found += struct.pack("<4i", 77, len(item), 77, 77) + padded
    return found


def mosaic(path, tiles=5, turn=None, sign=1, **tags):
    """A mosaic of `tiles` of 4 x 6 pixels, 3 x 3 of which fit."""
    rng = np.random.default_rng(tiles)
    across = int(np.ceil(np.sqrt(tiles)))
    shape = TILE[0] * across, TILE[1] * across
    turn = np.eye(3) if turn is None else turn
    normal = sign * np.cross(turn[0], turn[1])
    numbers = {
        "NumberOfImagesInMosaic": [str(tiles)],
        "SliceNormalVector": [f"{v:.8f}" for v in normal],
    }
    private = tags.pop("csa", csa(**numbers))
    values = {
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
        "Modality": "MR",
        "Rows": shape[0],
        "Columns": shape[1],
        "ImageOrientationPatient": [f"{v:.9f}" for v in turn[:2].ravel()],
        "ImagePositionPatient": [-10, 20, 30],
        "SpacingBetweenSlices": 3.5,
        "PixelData": rng.integers(0, 999, shape).astype("<u2").tobytes(),
    }
    write(path, **(values | tags))
    ds = pydicom.dcmread(path)
    block = ds.private_block(0x29, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", private)
    ds.save_as(path)
    return path


def as_nibabel(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nibabel.nicom.dicomwrappers import MosaicWrapper

        found = MosaicWrapper(pydicom.dcmread(path))
        return found.get_data(), found.affine


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(2, 20), st.integers(0, 99), st.sampled_from([1, -1]))
def test_a_mosaic_is_cut_as_nibabel_cuts_it(tmp_path_factory, tiles, seed, sign):
    root = tmp_path_factory.mktemp("m")
    turn = rotation(np.random.default_rng(seed))
    data, affine = as_nibabel(mosaic(root / "m", tiles, turn, sign))
    (stack,) = stacks_of(root)
    assert (stack.rows, stack.columns, len(stack.frames)) == (*TILE, tiles)
    assert stack.slice_spacing == pytest.approx(3.5)
    assert stack.notes == ("mosaic",)
    row, column = np.reshape(stack.orientation, (2, 3))
    ends = stack.frames[0].position_mm, stack.frames[-1].position_mm
    planes = read_planes(stack, stack.frames, MAX_FILE_BYTES)
    for frame, plane in zip(stack.frames, planes, strict=True):
        # nibabel's first axis runs down the rows, and its affine is LPS.
        assert np.array_equal(plane.pixels, data[..., frame.index])
        share = (frame.position_mm - ends[0]) / (ends[1] - ends[0])
        corner = np.array(stack.origin) + share * np.subtract(stack.last, stack.origin)
        np.testing.assert_allclose(corner, (affine @ (0, 0, frame.index, 1))[:3], atol=1e-4)
        beyond = corner + row * 2 * stack.pixel_spacing[1] + column * 3 * stack.pixel_spacing[0]
        np.testing.assert_allclose(beyond, (affine @ (3, 2, frame.index, 1))[:3], atol=1e-4)


def test_time_points_of_mosaics_are_stacks(tmp_path):
    for t in range(3):
        mosaic(tmp_path / f"{t}", SOPInstanceUID=f"1.2.{t + 1}", AcquisitionNumber=t + 1)
    stacks = stacks_of(tmp_path)
    assert [{f.file.path for f in s.frames} for s in stacks] == [{"0"}, {"1"}, {"2"}]
    assert [len(s.frames) for s in stacks] == [5, 5, 5]


def test_a_mosaic_without_position_is_cut_nevertheless(tmp_path):
    mosaic(tmp_path / "m", ImagePositionPatient=None)
    (stack,) = stacks_of(tmp_path)
    assert [f.index for f in stack.frames] == [0, 1, 2, 3, 4]
    assert stack.notes == ("mosaic", "no position")


@pytest.mark.parametrize(
    "tags",
    [
        {"csa": b""},
        {"csa": b"SV10\4\3\2\1" + b"\xff" * 90},
        {"csa": csa(NumberOfImagesInMosaic=["5"])},
        {"csa": csa(NumberOfImagesInMosaic=["x"], SliceNormalVector=["0", "0", "1"])},
        {"csa": csa(NumberOfImagesInMosaic=["-4"], SliceNormalVector=["0", "0", "1"])},
        {"csa": csa(NumberOfImagesInMosaic=["9" * 30], SliceNormalVector=["0", "0", "1"])},
        {"csa": csa(NumberOfImagesInMosaic=["50"], SliceNormalVector=["0", "0", "1"])},
        {"NumberOfFrames": 2, "PixelData": bytes(2 * 2 * 216)},
    ],
)
def test_a_mosaic_that_cannot_be_cut_is_skipped_by_name(tmp_path, tags):
    """Never scored as one slice."""
    assert outcome(mosaic(tmp_path / "m", **tags)).reason is Reason.MOSAIC
    assert index([tmp_path]).studies == ()
