"""Slices at their own resolution in a real browser: their values, windows and places."""

import base64
import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from medscan.decoding import PixelPlane
from medscan.imaging import pack
from medscan.report import ReportOptions, write_report
from medscan.report.page import asset
from medscan.report.pixels import pixel_script
from tests import tiny
from tests.report import archived, make
from tests.report.test_browser import enter, in_chromium, serious
from tests.report.test_placing import OBLIQUE, axes_of, write_dicom

CT = {"Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "-1024"}
VOLUME = np.rint(tiny.head_volume(1) * 1.8).astype(np.int16)
VOLUME[10, 12, 4] = 1024 + 77


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A CT of six slices of 48 x 48, all at their own resolution."""
    folder = tmp_path_factory.mktemp("full")
    tags = CT | {"WindowCenter": "-500", "WindowWidth": "1501"}
    tiny.write_series(folder / "archive", VOLUME, **tags)
    studies = archived.studies_of(folder / "archive", size=48, grid=6)
    options = ReportOptions(archives=(folder / "archive",), full="all", windows={"CT": "voi"})
    write_report([make.results(folder, studies)], folder / "out", options)
    return folder / "out" / "studies" / f"{studies[0].key}.html"


@pytest.fixture
def opened(tab, report):
    tab.goto(report.as_uri())
    tab.locator(".windows:not([disabled])").wait_for()
    tab.locator("input[name=slice]").fill("4")
    return tab


def shown(tab):
    """Grey values of the pixels as they are painted, (rows, columns)."""
    address = tab.locator(".source .pixels").evaluate(
        "canvas => new Promise(done => requestAnimationFrame(() => done(canvas.toDataURL())))"
    )
    picture = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    return np.asarray(picture.convert("RGB"))[..., 0].astype(float)


def point_at(tab, column, row, side=48):
    box = tab.locator(".source").bounding_box()
    x, y = ((at + 0.5) / side * box["width"] for at in (column, row))
    tab.mouse.move(box["x"] + x, box["y"] + y)
    return tab.locator(".here").inner_text()


def windowed(low, high):
    values = VOLUME[:, :, 4].T - 1024.0
    return np.floor(255 * np.clip((values - low) / (high - low), 0, 1) + 0.5)


def test_a_script_gives_back_every_value(tab, report):
    """16 bits from end to end, Hounsfield units, scaled numbers and colours, as numbers."""
    rng = np.random.default_rng(0)
    frames = [
        rng.choice([0, 1, 255, 256, 32767, 32768, 65535], (37, 53)),
        rng.integers(-1024, 3072, (64, 31)),
        (rng.integers(0, 4096, (20, 20)) * 0.37 - 5).astype(np.float32),
        rng.integers(0, 256, (12, 13, 3)),
    ]
    tab.goto(report.as_uri())
    read = (
        "(async () => {%s const found = await Pixels.read('%s');"
        "return [found.first, found.step, found.planes.map((plane) => [...plane])]; })()"
    )
    parts = (
        asset("script.js").partition("// Slices at their own")[2].partition("// Zoom and pan")[0]
    )
    for number, values in enumerate(frames):
        plane = PixelPlane(np.asarray(values, np.float32), step=0.37)
        name = report.with_suffix("") / f"probe{number}.js"
        name.write_bytes(pixel_script(pack(plane, plane.pixels, (0, 1), None), "c" * 32))
        code = read % (f"//{parts}", f"{name.parent.name}/{name.name}")
        first, step, planes = tab.evaluate(code)
        found = first + step * np.reshape(planes, (len(planes), *values.shape[:2]))
        wanted = np.moveaxis(np.atleast_3d(values), 2, 0)
        np.testing.assert_allclose(found, wanted, rtol=2.4e-7, atol=1e-6)
        name.unlink()


def test_a_window_shows_the_values_of_the_file(opened):
    assert opened.locator(".about").inner_text() == "48 \u00d7 48 pixels, 16 bits"
    assert opened.get_by_label("Level").input_value() == "-500.5"
    assert opened.get_by_label("Width").input_value() == "1500.0"
    np.testing.assert_array_equal(shown(opened), windowed(-500.5 - 750, -500.5 + 750))
    opened.locator("[name=window]").select_option("Bone 500/2500")
    np.testing.assert_array_equal(shown(opened), windowed(-750, 1750))
    opened.keyboard.press("i")
    np.testing.assert_array_equal(shown(opened), 255 - windowed(-750, 1750))
    enter(opened, "Width", "100")
    enter(opened, "Level", "-800")
    np.testing.assert_array_equal(shown(opened), 255 - windowed(-850, -750))
    assert opened.locator("[name=window]").input_value() == "own"


@in_chromium
def test_paper_says_what_is_not_as_the_detector_saw_it(opened):
    """A negative that nothing marks as one is read as an image."""
    altered = opened.locator(".altered")
    opened.emulate_media(media="print")
    assert not altered.is_visible()
    assert not opened.locator(".viewer").get_by_role("button", name="Cine").is_visible()
    opened.keyboard.press("i")
    expect(altered).to_have_text("Not as the detector saw it: inverted")
    assert altered.is_visible()
    opened.emulate_media(media="screen")
    assert altered.is_visible()
    opened.locator("[name=window]").select_option("Bone 500/2500")
    words = "Not as the detector saw it: inverted; window Bone 500/2500, level 500.0, width 2500.0"
    expect(altered).to_have_text(words)
    opened.keyboard.press("i")
    enter(opened, "Width", "100")
    words = "Not as the detector saw it: window own, level 500.00, width 100.00"
    expect(altered).to_have_text(words)
    opened.locator("[name=window]").select_option("as the detector saw it")
    expect(altered).to_have_text("")


def test_a_drag_sets_the_window_and_shift_moves_the_picture(opened):
    before = [float(opened.get_by_label(n).input_value()) for n in ("Level", "Width")]
    point_at(opened, 24, 24)
    opened.mouse.down()
    point_at(opened, 30, 34)
    opened.mouse.up()
    level, width = (float(opened.get_by_label(n).input_value()) for n in ("Level", "Width"))
    assert level > before[0]
    assert width > before[1]
    opened.locator("h1").click()
    for _ in range(4):
        opened.keyboard.press("+")
    old = point_at(opened, 24, 24)
    opened.keyboard.down("Shift")
    opened.mouse.down()
    point_at(opened, 40, 24)
    opened.mouse.up()
    opened.keyboard.up("Shift")
    assert point_at(opened, 40, 24) == old, "what was under the pointer stays there"
    assert float(opened.get_by_label("Level").input_value()) == level
    ruler = opened.locator(".source .unit")
    assert ruler.inner_html() == "5 mm"
    opened.keyboard.press("0")
    assert ruler.inner_html() == "10 mm"


def test_the_pointer_tells_value_and_place(opened):
    # Its x grows to the patient's left, its y to the back: 1 mm each, from the origin.
    assert point_at(opened, 10, 12).startswith("77 HU; L 10.0, P 12.0, H 4.0 mm; map 0.")
    opened.locator("input[name=slice]").fill("2")
    assert "; L 0.0, P 47.0, H 2.0 mm" in point_at(opened, 0, 47)


@in_chromium
def test_the_marker_of_an_oblique_stack_lies_where_its_header_says(tab, tmp_path):
    affine = axes_of(OBLIQUE[0])
    write_dicom(tmp_path / "archive", affine)
    (study,) = archived.studies_of(tmp_path / "archive", size=96, grid=12)
    options = ReportOptions(archives=(tmp_path / "archive",), full="all")
    write_report([make.results(tmp_path, [study])], tmp_path / "out", options)
    tab.goto((tmp_path / "out" / "studies" / f"{study.key}.html").as_uri())
    tab.locator(".windows:not([disabled])").wait_for()
    found = tab.locator(".source .pixels")
    greys = found.evaluate("canvas => [canvas.width, canvas.height]")
    for layer in range(3):
        tab.locator("input[name=slice]").fill(str(layer))
        bright = shown(tab)
        if bright.max() > bright.min():
            break
    row, column = np.unravel_index(bright.argmax(), bright.shape)
    box = found.bounding_box()
    x = box["x"] + (column + 0.5) / greys[0] * box["width"]
    tab.mouse.move(x, box["y"] + (row + 0.5) / greys[1] * box["height"])
    words = tab.locator(".here").inner_text()
    value, *told = re.match(r"(\d+); ([LR]) (.*), ([AP]) (.*), ([HF]) (.*) mm", words).groups()
    sign = {"L": 1, "R": -1, "P": 1, "A": -1, "H": 1, "F": -1}
    place = [sign[told[n]] * float(told[n + 1]) for n in (0, 2, 4)]
    assert value == "900"
    assert np.abs(place - (affine @ (4, 2, 1, 1))[:3]).max() < 0.4, "half a pixel of 0.8 mm"


@in_chromium
def test_map_threshold_colours_and_cine(opened):
    opened.locator("input[name=slice]").fill("3")
    viewer, contour = opened.locator(".viewer"), opened.locator(".contour").last
    before = contour.get_attribute("d")
    opened.get_by_label("Threshold").fill("60")
    assert viewer.get_by_text("0.560", exact=True).is_visible()
    assert 0 < len(contour.get_attribute("d")) < len(before)
    opened.locator("h1").click()
    opened.keyboard.press("[")
    assert viewer.get_by_text("0.548", exact=True).is_visible()
    heat, legend = opened.locator(".heat"), opened.locator(".legend img")
    seen = set()
    for _ in range(3):
        opened.keyboard.press("m")
        seen.add((heat.evaluate("c => c.toDataURL()"), legend.get_attribute("src")))
    assert len(seen) == 3
    opened.keyboard.press("p")
    expect(opened.locator("[name=slice]")).not_to_have_value("3")
    opened.keyboard.press("p")
    assert viewer.get_by_role("button", name="Cine").get_attribute("aria-pressed") == "false"


def test_a_question_mark_lists_the_keys(opened):
    opened.keyboard.press("?")
    help_ = opened.get_by_role("dialog", name="All keys")
    assert help_.is_visible()
    assert serious(opened) == []
    opened.keyboard.press("Escape")
    assert not help_.is_visible()


def test_a_slice_whose_file_is_gone_is_still_a_picture(tab, report, tmp_path):
    shutil.copytree(report.parent.parent, tmp_path / "copy")
    for path in (tmp_path / "copy").rglob("*-0005.js"):
        path.unlink()
    for path in (tmp_path / "copy").rglob("*-0004.js"):
        path.write_text("medscanSlice({rows: 5, columns: 5, channels: 1, width: 2, data: 'eJw='});")
    tab.goto((tmp_path / "copy" / "studies" / report.name).as_uri())
    for slice_index in (4, 3):
        tab.locator("input[name=slice]").fill(str(slice_index))
        tab.get_by_text("Values of this slice cannot be shown").wait_for()
        assert tab.locator(".source img").is_visible()
        assert not tab.locator(".source .pixels").is_visible()
    said = ("ERR_FILE_NOT_FOUND", "without reaching the stream end")  # by the browsers themselves
    tab.complaints = [c for c in tab.complaints if not any(words in c for words in said)]
