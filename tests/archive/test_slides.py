"""Whole slides of microscopy: large levels and labels are refused by name, overviews are read."""

from __future__ import annotations

import pytest

from medscan.archive import BURNED_IN, Reason
from medscan.archive.slides import LARGEST

from .conftest import outcome, stacks_of, write

SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
VOLUME = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]


def write_slide(path, matrix, frames=3, kinds=VOLUME, **tags):
    """An object with a few tiles of 4 x 6 pixels of a larger matrix."""
    return write(
        path,
        SOPClassUID=SLIDE,
        Modality="SM",
        ImageType=kinds,
        NumberOfFrames=frames,
        PixelData=bytes(48 * frames),
        TotalPixelMatrixRows=matrix[0],
        TotalPixelMatrixColumns=matrix[1],
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        **tags,
    )


@pytest.mark.parametrize("matrix", [(4097, 4096), (80_000, 120_000), (2**32 - 1, 2**32 - 1)])
def test_a_large_level_is_refused_by_name(tmp_path, matrix):
    found = outcome(write_slide(tmp_path / "a", matrix))
    assert (found.reason, found.bucket) == (Reason.WHOLE_SLIDE, "skipped")
    assert f"{matrix[0]} x {matrix[1]} pixels" in found.detail
    assert "a smaller level, or a region saved as a picture" in found.detail


def test_so_is_one_of_any_class_and_of_a_single_tile(tmp_path):
    path = write_slide(tmp_path / "a", (9000, 9000), frames=1, SOPInstanceUID="1.2.3")
    path.write_bytes(path.read_bytes().replace(SLIDE.encode(), SLIDE[:-1].encode() + b"9"))
    assert outcome(path).reason is Reason.WHOLE_SLIDE


def test_a_small_level_is_read_tile_by_tile(tmp_path):
    write_slide(tmp_path / "a", (4096, LARGEST // 4096))
    (stack,) = stacks_of(tmp_path)
    assert len(stack.frames) == 3
    assert stack.notes == ("tiles of a slide", "no position")


def test_an_overview_of_one_frame_is_a_picture(tmp_path):
    write_slide(tmp_path / "a", (4, 6), frames=1)
    (stack,) = stacks_of(tmp_path)
    assert stack.notes == ("no position",)


def test_the_label_of_a_slide_is_refused(tmp_path):
    kinds = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]
    found = outcome(write_slide(tmp_path / "a", (4, 6), frames=1, kinds=kinds))
    assert (found.reason, found.detail) == (Reason.WHOLE_SLIDE, "the label of the slide")


@pytest.mark.parametrize(("value", "shown"), [("YES", True), ("NO", False), (None, False)])
def test_an_overview_with_the_label_may_show_text(tmp_path, value, shown):
    found = outcome(write_slide(tmp_path / "a", (4, 6), frames=1, SpecimenLabelInImage=value))
    assert (BURNED_IN in found.notes) is shown
