"""What a gate says of a stack: by the distances of its slices, and by how it was taken."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medscan.archive import ArchiveFile, Frame, Kind, Stack
from medscan.gate import UNKNOWN, Acquired, Gate, acquired, spanned

GATE = Gate(2.0, 0.05, False, (1.0,), {"slice spacing": (3.0, 5.0)}, ("B30f",))


def stack(**facts):
    file = ArchiveFile(Path("/a"), "x.dcm", 1, 1)
    return Stack("s1", Kind.DICOM, (Frame(file, 0),), 8, 8, facts=facts)


def test_a_stack_lies_where_the_middle_one_of_its_scored_slices_does():
    assert GATE.place([1.0, math.nan, 3.0, 9.0]) == 1.5
    assert math.isnan(GATE.place([math.nan]))
    assert GATE.place([math.inf]) == 1e6
    assert GATE.beyond(0.99, UNKNOWN) == GATE.beyond(math.nan, UNKNOWN) == []
    (why,) = GATE.beyond(1.0, UNKNOWN)
    assert why == "its slices look different: 1.00 times the limit of distance"


@pytest.mark.parametrize(("spacing", "inside"), [(2.4, 1), (6.25, 1), (2.3, 0), (7, 0)])
def test_what_the_shots_spanned_has_a_little_room_on_both_sides(spacing, inside):
    reasons = GATE.beyond(0.5, Acquired({"slice spacing": spacing}))
    assert reasons == ([] if inside else [f"slice spacing {spacing:g} mm, not 3 to 5"])


def test_only_what_both_state_is_compared():
    assert GATE.beyond(0.5, Acquired({"field strength": 7.0})) == []
    assert GATE.beyond(0.5, Acquired({}, "B70f")) == ["kernel B70f, not B30f"]
    assert replace(GATE, kernels=()).beyond(0.5, Acquired({}, "B70f")) == []


def test_how_a_stack_was_taken_is_read_from_its_header():
    one = stack(MagneticFieldStrength="3", SliceThickness="5", ConvolutionKernel="B30f")
    one = replace(one, pixel_spacing=(0.5, 0.7), slice_spacing=6.0)
    numbers = {
        "pixel spacing": 0.7,
        "slice spacing": 6.0,
        "slice thickness": 5.0,
        "field strength": 3.0,
    }
    assert acquired(one) == Acquired(numbers, "B30F")
    # Words that a scan may have replaced say nothing.
    assert acquired(stack(ConvolutionKernel="4f2a91")) == UNKNOWN
    assert acquired(stack(MagneticFieldStrength="x", SliceThickness="-1")) == UNKNOWN


def test_spans_are_of_what_half_of_the_shots_state():
    shots = [Acquired({"slice spacing": float(n), "field strength": 3.0}, "B30f") for n in (3, 5)]
    spans = {"slice spacing": (3.0, 5.0), "field strength": (3.0, 3.0)}
    assert spanned(shots) == (spans, ("B30f",))
    assert spanned([*shots, *[UNKNOWN] * 3]) == ({}, ())
    assert spanned([]) == ({}, ())
    assert np.isfinite(GATE.limit)
