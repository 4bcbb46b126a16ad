"""Regions of maps above the threshold: how many, how large, and where."""

import csv
import dataclasses

import numpy as np
import pytest

from medscan.report import ReportOptions, regions, write_csv, write_report
from medscan.report.regions import MOST_REGIONS, regions_of
from medscan.results import State
from tests.report import make
from tests.report.markup import Page

GRID, SLICES, BETWEEN = 48, 21, 3.0
SIDE = 192.0
"""Millimetres of the square; its top left pixel lies at L -96, P -96, H -20."""


def ball_stack(*balls, **info):
    """A stack whose maps fall off around balls (x, y, layer, radius in mm), 0.5 at their edge."""
    at = (np.arange(GRID) + 0.5) * SIDE / GRID
    y, x = np.meshgrid(at, at, indexing="ij")
    maps = np.zeros((SLICES, GRID, GRID))
    for cx, cy, layer, radius in balls:
        for k in range(SLICES):
            away = np.sqrt((x - cx) ** 2 + (y - cy) ** 2 + ((k - layer) * BETWEEN) ** 2)
            maps[k] = np.maximum(maps[k], np.clip(1 - away / (2 * radius), 0, 1))
    stack = make.stack("s1", 0.9, SLICES, size=GRID * 8, grid=GRID, **info)
    stack.state[:] = State.SCORED
    stack.slice_score[:] = 0.7
    return dataclasses.replace(stack, heatmap=maps.astype(np.float16))


def test_a_ball_has_the_size_of_a_ball():
    (ball,) = regions_of(ball_stack((70, 110, 10, 15)), 0.5)
    assert ball.volume_mm3 == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.05)
    assert ball.area_mm2 == pytest.approx(np.pi * 15**2, rel=0.03)
    assert ball.extent_mm == pytest.approx((30, 30, 27), abs=1.5), "9 slices, 3 mm each"
    assert ball.diameter_mm == pytest.approx(30, abs=1.5)
    assert (ball.first, ball.last, ball.slices, ball.worst) == (6, 14, 9, 10)
    # The square's corner is half a pixel of 1 mm beyond the centre of its first pixel.
    assert ball.centre == pytest.approx((70 - 96.5, 110 - 96.5, -20 + 30), abs=0.5)


def test_extents_are_those_of_the_patient():
    sagittal = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]
    (ball,) = regions_of(ball_stack((70, 110, 2, 15), orientation=sagittal), 0.5)
    assert ball.extent_mm[0] == pytest.approx(7 * BETWEEN, abs=1.5), "cut by the first slice"
    assert ball.extent_mm[1:] == pytest.approx((30, 30), abs=1.5)


def test_what_does_not_touch_is_apart_and_the_hottest_comes_first():
    found = regions_of(ball_stack((40, 40, 5, 9), (140, 120, 15, 12)), 0.5)
    assert [region.last < 10 for region in found] in ([True, False], [False, True])
    assert found[0].peak >= found[1].peak
    stack = ball_stack((70, 110, 10, 15))
    stack.state[10] = State.FAILED
    assert [(r.first, r.last) for r in sorted(regions_of(stack, 0.5), key=lambda r: r.first)] == [
        (6, 9),
        (11, 14),
    ]
    many = ball_stack(*((x, y, 0, 4) for x in range(12, 190, 24) for y in range(12, 190, 24)))
    assert len(regions_of(many, 0.6)) == MOST_REGIONS
    assert regions_of(many, 1.5) == []


@pytest.mark.parametrize("index", [5, 10, 15])
def test_a_region_beside_a_slice_that_was_passed_over_has_no_volume(index):
    stack = ball_stack((70, 110, 10, 15))
    stack.state[index] = State.PASSED_OVER
    stack.heatmap[index] = 0
    found = regions_of(stack, 0.5)
    assert len(found) == (2 if index == 10 else 1)
    assert all(np.isnan(region.volume_mm3) and region.area_mm2 > 0 for region in found)
    stack = ball_stack((70, 110, 10, 15))
    stack.state[[4, 16]] = State.PASSED_OVER
    assert regions_of(stack, 0.5)[0].volume_mm3 > 0, (
        "slices between it and those show no more of it"
    )


def test_slices_that_lie_unevenly_have_areas_and_no_volume():
    stack = ball_stack((70, 110, 10, 15))
    stack.position_mm[10:] += 20
    found = regions_of(stack, 0.5)
    assert [region.slices for region in found] == [1] * 9
    assert all(np.isnan(region.volume_mm3) and region.area_mm2 > 0 for region in found)


def test_nothing_is_claimed_of_what_is_not_known():
    (flat,) = regions_of(ball_stack((70, 110, 10, 15), orientation=[]), 0.5)
    assert flat.diameter_mm == pytest.approx(30, abs=1.5)
    assert np.isnan([*flat.extent_mm, *flat.centre]).all()
    (bare,) = regions_of(ball_stack((70, 110, 10, 15), pixel_spacing=[]), 0.5)
    assert np.isnan([bare.area_mm2, bare.volume_mm3, bare.diameter_mm, *bare.centre]).all()
    assert bare.slices == 9


@pytest.mark.parametrize("masked", [True, False, None])
def test_page_and_table_hold_the_same_regions(tmp_path, masked, monkeypatch):
    calls = []
    once = regions.regions_of
    monkeypatch.setattr(
        regions, "regions_of", lambda *stack: calls.append(len(calls) + 1) or once(*stack)
    )
    stack = ball_stack((40, 40, 5, 9), (140, 120, 15, 12))
    said = {} if masked is None else {"masked": masked}
    detector = make.DETECTOR | said
    results = make.results(
        tmp_path, [make.study("aaa", [stack]), make.study("bbb")], make.run(detectors=[detector])
    )
    write_report([results], tmp_path / "out", ReportOptions())
    write_csv([results], tmp_path / "regions.csv", "regions")
    with (tmp_path / "regions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["region"] for row in rows] == ["1", "2"]
    assert {row["masked"] for row in rows} == {"" if masked is None else str(int(masked))}
    larger = max(rows, key=lambda row: float(row["volume_mm3"]))
    page = Page(tmp_path / "out" / "studies" / "aaa.html")
    assert f"{float(larger['volume_mm3']) / 1000:.1f} ml" in page.text
    assert f"{float(larger['diameter_mm']):.0f} mm" in page.text
    assert ("evidence, not the border" in page.text) == (masked is False)
    assert calls == [1], "both at once"
    assert "Regions of the map" not in Page(tmp_path / "out" / "studies" / "bbb.html").text
