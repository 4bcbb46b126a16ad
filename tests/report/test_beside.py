"""The last earlier study beside the current one in a real browser: same place, same window."""

import base64
import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from playwright.sync_api import expect

from medscan import archive
from medscan.report import ReportOptions, write_report
from tests import tiny
from tests.report import archived, make
from tests.report.test_browser import coloured, enter, in_chromium, serious

CT = {"Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "-1024"}
DAYS = ("20230602", "20240131")
BELOW = 2
"""Slices by which the earlier CT begins lower, in the same frame of reference."""
VOLUMES = {
    "CT": [np.rint(tiny.head_volume(n, slices=10 - 2 * n) * 1.8).astype("<i2") for n in (1, 2)],
    "MR": [np.rint(tiny.head_volume(n) * gain).astype("<i2") for n, gain in ((1, 6), (2, 2))],
}


def write(folder, modality, number):
    """The earlier (0) or the later (1) study of a modality."""
    uid = f"1.2.{len(modality)}.{modality == 'CT':d}.{number + 1}"
    uids = {"StudyInstanceUID": uid, "SeriesInstanceUID": f"{uid}.1", "StudyDate": DAYS[number]}
    frame = {"FrameOfReferenceUID": "1.2.77" if modality == "CT" else f"{uid}.9"}
    tags = (CT if modality == "CT" else {}) | uids | frame
    tiny.write_series(folder, VOLUMES[modality][number], **tags)
    for path in folder.iterdir() if (modality, number) == ("CT", 0) else ():
        source = pydicom.dcmread(path)
        source.ImagePositionPatient[2] -= BELOW
        source.save_as(path)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages of a CT and of an MR, of a patient each, with an earlier study."""
    folder = tmp_path_factory.mktemp("beside")
    for modality in VOLUMES:
        for number in range(2):
            write(folder / "archive" / f"{modality}{number}", modality, number)
    studies, found = [], {}
    for study in archive.index([folder / "archive"]).studies:
        (series,) = study.series
        (stack,) = series.stacks
        facts = {"frame_of_reference": stack.frame_of_reference, "size": 48, "grid": 6}
        peak = 0.9 if study.date == DAYS[1] else 0.55
        result = archived.result_of(series, stack, peak=peak, **facts)
        told = {"date": study.date, "patient": f"p-{series.modality}"}
        studies.append(make.study(study.key, [result], **told))
        found[series.modality, study.date] = folder / "out" / "studies" / f"{study.key}.html"
    options = ReportOptions(archives=(folder / "archive",), full="all")
    write_report([make.results(folder, studies)], folder / "out", options)
    return {modality: found[modality, DAYS[1]] for modality in VOLUMES}


def opened(tab, page, slice_number=3):
    tab.goto(page.as_uri())
    tab.locator(".windows:not([disabled])").wait_for()
    tab.locator("input[name=slice]").fill(str(slice_number - 1))
    tab.locator(".prior .pixels:visible").wait_for()
    return tab


def shown(tab, where):
    """Grey values as they are painted, (rows, columns)."""
    address = tab.locator(f"{where} .pixels").evaluate(
        "canvas => new Promise(done => requestAnimationFrame(() => done(canvas.toDataURL())))"
    )
    picture = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    return np.asarray(picture.convert("RGB"))[..., 0].astype(float)


def windowed(values, low, high):
    return np.floor(255 * np.clip((values.T - low) / (high - low), 0, 1) + 0.5)


def test_both_step_to_the_same_place_in_the_same_window(tab, pages):
    opened(tab, pages["CT"])
    then = tab.locator(".then")
    assert then.inner_text() == f"Slice {3 + BELOW} of 8, score 0.550; 0.0 mm away"
    tab.locator("[name=window]").select_option("Bone 500/2500")
    then_values = VOLUMES["CT"][0][..., 2 + BELOW] - 1024.0
    np.testing.assert_array_equal(shown(tab, ".prior"), windowed(then_values, -750, 1750))
    enter(tab, "Width", "100")
    enter(tab, "Level", "-800")
    np.testing.assert_array_equal(shown(tab, ".prior"), windowed(then_values, -850, -750))
    now_values = VOLUMES["CT"][1][..., 2] - 1024.0
    np.testing.assert_array_equal(shown(tab, ".source"), windowed(now_values, -850, -750))
    tab.get_by_label("Invert").check()
    np.testing.assert_array_equal(shown(tab, ".prior"), 255 - windowed(then_values, -850, -750))
    assert then.inner_text().endswith("; inverted")
    tab.locator("h1").click()
    tab.keyboard.press("ArrowRight")
    expect(then).to_contain_text(f"Slice {4 + BELOW} of 8")
    tab.locator(".prior .pane").hover()
    tab.mouse.wheel(0, 100)
    expect(then).to_contain_text(f"Slice {5 + BELOW} of 8")
    assert tab.locator(".now").inner_text().startswith("Slice 5 of 6")


def test_both_show_the_same_part(tab, pages):
    opened(tab, pages["CT"])
    tab.locator("h1").click()
    for _ in range(4):
        tab.keyboard.press("+")
    styles = tab.locator(".stage:visible").evaluate_all(
        "all => all.map((stage) => stage.style.cssText)"
    )
    assert len(set(styles)) == 1
    assert "244" in styles[0]
    rulers = tab.locator(".unit:visible").all_text_contents()
    assert len(set(rulers)) == 1


@in_chromium
def test_values_without_a_unit_are_windowed_as_far_from_what_the_detector_saw(tab, pages):
    """The earlier MR is three times as bright: a window of numbers would show it white."""
    opened(tab, pages["MR"])
    assert "at the same share of the stack" in tab.locator(".then").inner_text()
    assert "which have no unit" in tab.locator(".then").inner_text()
    tab.locator("[name=window]").select_option("all values")
    for where, number in ((".source", 1), (".prior", 0)):
        values = VOLUMES["MR"][number][..., 2].astype(float)
        wanted = windowed(values, values.min(), values.max())
        np.testing.assert_array_equal(shown(tab, where), wanted)
    tab.locator("[name=window]").select_option("as the detector saw it")
    enter(tab, "Width", str(2 * float(tab.get_by_label("Width").input_value())))
    greys = [np.median(shown(tab, where)) for where in (".source", ".prior")]
    assert abs(greys[0] - greys[1]) < 40


@in_chromium
def test_a_key_hides_it_and_its_map_follows_the_switches(tab, pages):
    opened(tab, pages["CT"])
    heat, prior = tab.locator(".prior .heat"), tab.locator(".prior")
    assert heat.is_visible()
    before = heat.evaluate("canvas => canvas.toDataURL()")
    tab.locator("h1").click()
    tab.keyboard.press("m")
    assert heat.evaluate("canvas => canvas.toDataURL()") != before
    tab.keyboard.press("h")
    assert not heat.is_visible()
    tab.keyboard.press("b")
    assert not prior.is_visible()
    tab.keyboard.press("?")
    listed = tab.get_by_role("dialog", name="All keys")
    assert "earlier study beside this one" in listed.inner_text()
    tab.keyboard.press("Escape")
    tab.keyboard.press("b")
    assert prior.is_visible()
    tab.get_by_role("link", name="2023-06-02").first.click()
    tab.locator(".viewer.ready").wait_for()
    assert tab.locator(".prior").count() == 0, "nothing is earlier than the first"


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (420, "dark")])
def test_it_fits_wide_and_narrow_pages(tab, pages, width, scheme):
    coloured(tab, scheme)
    tab.set_viewport_size({"width": width, "height": 900})
    opened(tab, pages["CT"])
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [pane.bounding_box() for pane in tab.locator(".pane:visible").all()]
    level = len({round(box["y"]) for box in boxes}) == 1
    assert level == (width == 1400), "side by side where there is room"
    assert [box["width"] > 250 for box in boxes] == [True] * 3
    assert serious(tab) == []
