"""The two other planes through a stack: when they are offered, and that they lie where they say."""

import base64
import io
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from medscan.report import ReportOptions, write_report
from medscan.report.planes import MOST_VOXELS, other_planes
from medscan.results import State
from tests import tiny
from tests.report import archived, make
from tests.report.test_browser import enter, in_chromium, serious
from tests.report.test_placing import OBLIQUE, SIGNED

LETTERS = {"axial": "RLAP", "coronal": "RLHF", "sagittal": "APHF"}
"""At the left, the right, the top and the bottom, as radiologists show each plane."""
SHAPE, SPACING = (14, 18, 9), np.array([1.5, 0.75, 3.0])
MARKER = (4, 12, 5)
"""Columns, rows and slices; the voxel that is bright."""


def everything(count):
    return {index: f"{index}.js" for index in range(count)}


def placed(turn, count=24, step=3.0, shift=0.0):
    """A stack whose columns, rows and slices run along the columns of `turn`."""
    normal = np.cross(turn[:, 0], turn[:, 1])
    last = (
        np.array([-80.0, -96.0, -20.0]) + (count - 1) * (step * normal + shift * turn[:, 0])
    ).tolist()
    where = {"orientation": turn[:, :2].T.ravel().tolist(), "last": last}
    return make.stack("s1", 0.9, count, slice_spacing=step, **where)


@pytest.mark.parametrize("turn", SIGNED)
def test_all_three_planes_are_shown_as_radiologists_show_them(turn):
    planes = other_planes(placed(turn), everything(24))
    assert planes.why_not == ""
    assert planes.lengths == pytest.approx((192, 192, 72))
    normals = {}
    for cut in planes.cuts:
        marks = cut.marks
        assert marks.left + marks.right + marks.top + marks.bottom == LETTERS[cut.name]
        normals[cut.name] = turn[:, 1 - cut.axis]
    assert len(normals) == 2
    axis = {"sagittal": 0, "coronal": 1, "axial": 2}
    assert all(abs(normal[axis[name]]) == 1 for name, normal in normals.items())


def test_they_are_offered_for_regular_stacks_alone():
    straight = np.eye(3)
    uneven = placed(straight)
    uneven.position_mm[5] += 0.5
    lost = placed(straight)
    lost.position_mm[5] = np.nan
    for stack, why in (
        (uneven, "not evenly spaced"),
        (placed(straight, shift=0.3), "tilted gantry"),
        (lost, "not known where"),
        (replace(placed(straight), info=placed(straight).info | {"orientation": []}), "not known"),
    ):
        planes = other_planes(stack, everything(24))
        assert why in planes.why_not
        assert planes.cuts == ()
        assert planes.facts() is None


def test_they_are_offered_where_all_slices_are_in_the_page():
    stack = placed(np.eye(3))
    assert "has the values of 23 of 24 slices" in other_planes(stack, everything(23)).why_not
    stack.info["thumbnails"] = "withheld: may carry burned-in text"
    assert "withheld: may carry" in other_planes(stack, {}).why_not
    stack.state[3] = State.FAILED
    assert "1 of its 24 slices could not be used" in other_planes(stack, everything(24)).why_not
    stack.state[3] = State.SCORED
    stack.info["rows"] = MOST_VOXELS // 24 // stack.info["columns"] + 1
    assert "too many for a browser" in other_planes(stack, everything(24)).why_not
    single = other_planes(make.stack("s1", 0.9, 1), {})
    assert (single.why_not, single.cuts) == ("", ())


# --- in a browser --------------------------------------------------------------------------------


def axes_of(turn):
    """An affine, (column, row, slice) to LPS millimetres."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * SPACING, (-31.5, 12.25, 7.0)
    return affine


def written(folder, turn, keep="all"):
    """The page of a stack with a bright voxel, and the index of the slice that has it."""
    affine = axes_of(turn)
    volume = np.full(SHAPE, 100, np.int16)
    volume[MARKER] = 900
    for layer in range(SHAPE[2]):
        tags = {
            "ImageOrientationPatient": turn[:, :2].T.round(8).ravel().tolist(),
            "ImagePositionPatient": (affine @ (0, 0, layer, 1))[:3].round(8).tolist(),
            "PixelSpacing": [SPACING[1], SPACING[0]],
            "InstanceNumber": layer + 1,
            "SeriesInstanceUID": "1.2.3",
        }
        layers = volume[:, :, layer : layer + 1]
        tiny.write_series(folder / "archive" / f"{layer}", layers, study="1.2", **tags)
    (study,) = archived.studies_of(folder / "archive", size=96, grid=12)
    options = ReportOptions(archives=(folder / "archive",), full=keep)
    write_report([make.results(folder, [study])], folder / "out", options)
    (marked,) = (n for n, p in enumerate(study.stacks[0].path) if p == f"{MARKER[2]}/0000")
    return folder / "out" / "studies" / f"{study.key}.html", marked


@pytest.fixture
def opened(tab):
    """Opens a page with its other planes."""

    def open_(page):
        tab.set_viewport_size({"width": 1400, "height": 1200})
        tab.goto(page.as_uri())
        tab.locator(".windows:not([disabled])").wait_for()
        tab.keyboard.press("r")
        tab.locator(".planes .pane").last.wait_for()
        return tab

    return open_


BRIGHTEST = """canvas => {
  const { width, height } = canvas;
  const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, width, height);
  const greys = data.filter((_, n) => n % 4 === 0), at = greys.indexOf(Math.max(...greys));
  const [x, y] = [(at % width + 0.5) / width, (Math.floor(at / width) + 0.5) / height];
  const part = (name) => parseFloat(canvas.style[name]);
  const point = canvas.parentElement.appendChild(document.createElement("i"));
  point.style.left = `${part("left") + x * part("width")}%`;
  point.style.top = `${part("top") + y * part("height")}%`;
  point.style.width = point.style.height = 0;
  const place = point.getBoundingClientRect();
  point.remove();
  return [place.x, place.y];
}"""


def bright(tab):
    """Where the brightest pixel of each plane is on the screen, (x, y)."""
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    planes = [tab.locator(".source .pixels"), *tab.locator(".voxels").all()]
    return [plane.evaluate(BRIGHTEST) for plane in planes]


def click(tab, at):
    tab.mouse.move(*at)
    tab.mouse.down()
    tab.mouse.up()


def told(tab, at):
    """LPS millimetres that the page tells of the marker under the pointer."""
    tab.mouse.move(*at)
    words = tab.locator(".here").inner_text()
    number = r" ([\d.]+)"
    found = re.match(rf"900; ([LR]){number}, ([AP]){number}, ([HF]){number} mm", words).groups()
    sign = {"L": 1, "R": -1, "P": 1, "A": -1, "H": 1, "F": -1}
    return np.array([sign[found[n]] * float(found[n + 1]) for n in (0, 2, 4)])


TURNS = {"double": OBLIQUE[0], "single": OBLIQUE[1], "turned": SIGNED[29]}


@pytest.mark.parametrize(
    ("browser", "turn"),
    [*(("chromium", turn) for turn in TURNS), ("firefox", "double")],
    indirect=["browser"],
)
def test_a_marker_lies_where_its_header_says_in_all_three_planes(opened, tmp_path, turn):
    turn = TURNS[turn]
    page, marked = written(tmp_path, turn)
    tab = opened(page)
    slider = tab.locator("input[name=slice]")
    slider.fill(str(marked))
    click(tab, bright(tab)[0])
    places = bright(tab)
    for at in places:
        off = told(tab, at) - (axes_of(turn) @ (*MARKER, 1))[:3]
        assert np.all(np.abs(off @ turn) <= SPACING / 2)
    for at, key in zip(places[1:], ("ArrowRight", "ArrowDown"), strict=True):
        slider.fill("0")
        tab.keyboard.press(f"Shift+{key}")
        click(tab, at)
        assert slider.input_value() == str(marked)
        np.testing.assert_allclose(bright(tab), places, atol=1)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A page whose stack lies along the axes of the patient."""
    folder = tmp_path_factory.mktemp("straight")
    return written(folder, np.eye(3))


def painted(tab, kind):
    """RGBA of each of the two planes, (rows, columns, 4), with the feet at the top."""
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    addresses = tab.locator(f".planes {kind}").evaluate_all("all => all.map((c) => c.toDataURL())")
    streams = [io.BytesIO(base64.b64decode(address.partition(",")[2])) for address in addresses]
    return [np.asarray(Image.open(stream).convert("RGBA")).astype(float) for stream in streams]


def shows(tab, wanted):
    """Both planes soon show these greys: a page paints them when it can."""
    for patience_ms in (0, 50, 200, 1000, 5000):
        tab.wait_for_timeout(patience_ms)
        shown = [plane[..., 0] for plane in painted(tab, ".voxels")]
        if all(map(np.array_equal, shown, wanted)):
            return
    np.testing.assert_array_equal(shown, wanted)


def test_they_have_the_window_and_the_map_of_the_slices(opened, straight):
    page, marked = straight
    tab = opened(page)
    slider = tab.locator("input[name=slice]")
    slider.fill(str(marked))
    click(tab, bright(tab)[0])
    enter(tab, "Width", "1000")
    enter(tab, "Level", "600")
    volume = np.full(SHAPE, 100)
    volume[MARKER] = 900
    greys = np.rint(255 * np.clip((volume - 100) / 1000, 0, 1))
    shows(tab, [greys[:, MARKER[1]].T, greys[MARKER[0]].T])
    tab.get_by_label("Invert").click()
    shows(tab, [255 - greys[:, MARKER[1]].T, 255 - greys[MARKER[0]].T])
    slider.fill("4")
    for _ in range(2):
        tab.get_by_label("Other planes").click()  # the crosshair goes to where the map is highest
    tab.locator(".planes .pane").last.wait_for()
    for opacity in (plane[..., 3] for plane in painted(tab, ".heatcut")):
        assert not opacity[[0, -1]].any(), "the first and the last slice have no score"
        assert opacity.max() > 200
    assert all(tab.locator(".outline").evaluate_all("all => all.map((e) => e.getAttribute('d'))"))
    tab.keyboard.press("h")
    tab.keyboard.press("c")
    expect(tab.locator(".heatcut").last).to_be_hidden()
    expect(tab.locator(".outline").last).to_have_attribute("d", "")


def test_zoom_and_wheel_are_those_of_the_slices(opened, straight):
    page, marked = straight
    tab = opened(page)
    tab.locator("input[name=slice]").fill(str(marked))
    click(tab, bright(tab)[0])
    units = tab.locator(".planes .unit:not(:empty)")
    before = bright(tab)
    assert units.all_text_contents() == ["coronal", "5 mm", "sagittal", "5 mm"]
    for _ in range(6):
        tab.keyboard.press("+")
    assert units.all_text_contents() == ["coronal", "2 mm", "sagittal", "2 mm"]
    after = [told(tab, at) for at in bright(tab)]
    assert np.ptp(after, axis=0).max() <= 0.2, "the crosshair stays in view"
    tab.keyboard.press("0")
    np.testing.assert_allclose(bright(tab), before, atol=1)
    coronal, sagittal = (plane[..., 0] for plane in painted(tab, ".voxels"))
    assert coronal.max() == sagittal.max() == 255
    tab.locator(".planes .pane").first.hover()
    tab.mouse.wheel(0, 10)
    shows(tab, [np.zeros((SHAPE[2], SHAPE[0])), sagittal])  # the next row of pixels
    tab.mouse.wheel(0, -10)
    shows(tab, [coronal, sagittal])


@in_chromium
def test_the_page_says_why_they_are_not_offered(tab, tmp_path):
    page, _ = written(tmp_path, np.eye(3), keep="flagged")
    tab.goto(page.as_uri())
    tab.locator(".windows:not([disabled])").wait_for()
    words = tab.get_by_text("Other planes are not offered: the report has the values of")
    assert words.is_visible()
    tab.keyboard.press("r")
    assert tab.locator("[name=planes], .planes").count() == 0


def test_a_slice_whose_file_is_gone_is_named(tab, straight, tmp_path):
    page, _ = straight
    shutil.copytree(page.parent.parent, tmp_path / "copy")
    for path in (tmp_path / "copy").rglob("*-0009.js"):
        path.unlink()
    tab.goto((tmp_path / "copy" / "studies" / page.name).as_uri())
    tab.locator(".windows:not([disabled])").wait_for()
    tab.keyboard.press("r")
    tab.get_by_text("The other planes cannot be shown: its file is missing.").wait_for()
    assert tab.locator(".planes .pane:visible").count() == 0
    tab.complaints = [c for c in tab.complaints if "ERR_FILE_NOT_FOUND" not in c]


@in_chromium
@pytest.mark.parametrize("width", [1400, 420])
def test_people_with_a_screen_reader_or_a_telephone_can_use_them(opened, straight, width):
    tab = opened(straight[0])
    tab.set_viewport_size({"width": width, "height": 900})
    assert tab.get_by_role("img", name="Coronal plane through the crosshair").is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert serious(tab) == []
