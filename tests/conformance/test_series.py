"""Series of an archive of real files: members, order, spacing and orientation as others have it."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pydicom
import pytest

from medscan.archive import Kind
from medscan.decoding.quiet import quiet

from .conftest import ARCHIVE, agrees, rows

ZERO = "research/viewer/gdcm-CT-MONO2-8-abdo.dcm"
MOSAICS = "research/neuro/dft/0.dcm"
ECHOES = "research/16 echo qT2/TE_20_SlcPos_-33.707626341697.dcm"
MAPS = [
    "incoming/2020/vendor demo discs/parametric_map_float.dcm",
    "incoming/2020/vendor demo discs/parametric_map_double_float.dcm",
]
SCOUTS = "incoming/CD-R 2004-01-19/98892001/CT2N/6293"
EXPLAINED = {
    ZERO: "PixelSpacing is 0.2, 0, 0.2: not used",
    MOSAICS: "of four mosaics two cannot be cut",
    ECHOES: "gaps of each echo, not of all",
    SCOUTS: "localizers, which are set aside",
    **dict.fromkeys(MAPS, "parametric maps: made from images, set aside"),
}
"""First members of series that differ from the table, and why."""


def member(name):
    path, _, frame = name.rpartition("#")
    return (path, int(frame)) if path and frame.isdigit() else (name, 0)


def members_of(stack):
    """Frames as the table counts them: a mosaic is one."""
    if "mosaic" in stack.notes:
        return list(dict.fromkeys((f.file.path, 0) for f in stack.frames))
    return [(f.file.path, f.index) for f in stack.frames]


@pytest.fixture(scope="module")
def series(catalogue):
    """Rows of the table with the stacks that their members are in, and those set aside."""
    expected = {row["path"]: row for row in rows("expected.csv")}
    outcomes = {o.file.path: o for o in catalogue.set_aside}
    found = [e for s in catalogue.studies for e in s.series if e.stacks[0].kind is Kind.DICOM]
    home = {m: n for n, e in enumerate(found) for k in e.stacks for m in members_of(k)}
    table = []
    for row in rows("expected_series.csv"):
        order = [member(name) for name in json.loads(row["slice_order"])]
        lost = [
            path
            for path, _ in order
            if path in outcomes
            and not agrees(expected[path], outcomes[path].bucket, outcomes[path])
        ]
        left = [name for name in order if name[0] not in outcomes]
        homes = {home.get(name) for name in left}
        scanned = [
            (k, [m for m in members_of(k) if expected[m[0]]["expected"] == "scanned"])
            for n in homes
            if n is not None
            for k in found[n].stacks
        ]
        table.append((row, order, left, lost, homes, [(k, m) for k, m in scanned if m]))
    assert len(table) == 151
    return table


def differing(series, problem):
    """Problems of the rows that have one, by their first member."""
    wrong = {}
    for row, order, left, lost, homes, stacks in series:
        told = problem(row, left, lost, homes, stacks)
        if told:
            wrong[order[0][0]] = told
    return wrong


def test_members_and_order(series):
    def problem(row, left, lost, homes, stacks):
        if lost:
            return f"set aside: {lost}"
        if len(homes) > 1:
            return f"spread over {homes}"
        flat = [m for _, names in stacks for m in names]
        # The frames of a time series of mosaics lie in a stack each.
        if sorted(set(flat)) != sorted(left) or (len(flat) != len(set(flat))):
            return f"members differ: {set(flat) ^ set(left)}"
        rank = {name: n for n, name in enumerate(left)}
        several = row["order_basis"].startswith("several orientations")
        ranks = [[rank[m] for m in names] for _, names in stacks]
        return "" if several or all(r == sorted(r) for r in ranks) else f"order differs: {ranks}"

    assert set(differing(series, problem)) == {MOSAICS}


def numbers(text):
    return [tuple(float(v) for v in p.replace("\\", " ").split()) for p in text.split("|") if p]


def same(one, other, tolerance):
    """Whether two sets of vectors are the same but for rounding."""

    def near(a, b):
        return len(a) == len(b) and np.abs(np.subtract(a, b)).max() <= tolerance

    return all(any(near(a, b) for b in other) for a in one) and all(
        any(near(a, b) for a in one) for b in other
    )


def test_orientation(series):
    def problem(row, left, lost, homes, stacks):
        wanted = numbers(row["orientation"])
        found = [k.orientation for k, _ in stacks if k.orientation]
        if int(row["n_orientations"]) > len(wanted):  # the table names six at most
            agree = len(found) == int(row["n_orientations"]) and same(wanted, found[1:], 2e-3)
            return "" if agree else f"{wanted} {found}"
        return "" if same(wanted, found, 2e-3) else f"{wanted} {found}"

    assert set(differing(series, problem)) == {SCOUTS, *MAPS}


def spacing_told(path):
    """Pixel spacing of a file that tells it elsewhere than at its top level."""
    opened = gzip.open if path.endswith(".gz") else open
    with quiet(), opened(ARCHIVE / "files" / path, "rb") as stream:
        ds = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
    groups = [*ds.get("SharedFunctionalGroupsSequence", [])]
    groups += [*ds.get("PerFrameFunctionalGroupsSequence", [])]
    items = [i for g in groups for i in g.get("PixelMeasuresSequence", [])]
    told = [i.get("PixelSpacing") or i.get("ImagerPixelSpacing") for i in [*items, ds]]
    return {tuple(float(v) for v in t) for t in told if t}


def test_pixel_spacing(series):
    def problem(row, left, lost, homes, stacks):
        wanted = numbers(row["pixel_spacing"])
        if not wanted and left:  # the table looks at the top level only
            wanted = set().union(*(spacing_told(p) for p in sorted({p for p, _ in left})[:3]))
        found = [k.pixel_spacing for k, _ in stacks if k.pixel_spacing]
        return "" if same(wanted, found, 1e-4) else f"{wanted} {found}"

    assert set(differing(series, problem)) == {ZERO, SCOUTS}


def test_slice_spacing_gaps_and_tilt(series):
    def problem(row, left, lost, homes, stacks):
        if not row["spacing_median"]:
            return ""
        kept = [k for k, _ in stacks]
        wanted = [float(row[f"spacing_{name}"]) for name in ("min", "median", "max")]
        gaps = [np.diff([f.position_mm for f in k.frames]) for k in kept]
        found = [(g.min(), k.slice_spacing, g.max()) for g, k in zip(gaps, kept, strict=True)]
        odd = any(n in ("missing slices", "uneven spacing") for k in kept for n in k.notes)
        tilted = any("tilted" in k.notes for k in kept)
        agree = same([wanted], found, 1e-3) and odd != (row["uniform"] == "True")
        return "" if agree and tilted == (float(row["tilt_deg"]) > 1) else f"{wanted} {found}"

    assert set(differing(series, problem)) == {ECHOES}
