"""What the report does in a real browser, from files, with no server."""

import base64
import io
import itertools
import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from medscan.report import ReportOptions, write_html, write_report
from medscan.report.content import Report
from medscan.report.options import DEFAULT
from medscan.report.page import asset, render
from tests.report import hostile, make

in_chromium = pytest.mark.parametrize("browser", ["chromium"], indirect=True)
"""Of what depends on no browser (neither layout, pointer, painting, dialogs nor what it keeps), or
what Firefox cannot be driven to do."""


def coloured(tab, scheme):
    """Choose the colours of a page; Firefox takes them from its settings alone."""
    if scheme == "dark" and tab.context.browser.browser_type.name == "firefox":
        pytest.skip("Firefox cannot be driven to be dark")
    tab.emulate_media(color_scheme=scheme)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    studies = [
        *make.few_studies(),
        make.study("fff", [make.stack("s1", 0.41, modality="CT")], modality="CT", date="20230105"),
    ]
    results = make.results(folder, studies)
    write_report([results], folder / "out")
    write_html([results], folder / "single.html")
    return folder


def names(tab):
    return tab.locator("#rows th a").all_inner_texts()


def opened(tab, report, study):
    tab.goto((report / "out" / "studies" / f"{study}.html").as_uri())
    tab.locator(".viewer.ready").first.wait_for()
    return tab


def serious(tab):
    """What axe-core finds that keeps people out."""
    # It would fetch style sheets, which the policy forbids.
    found = Axe().run(tab, options={"preload": False, "resultTypes": ["violations"]})
    return [
        (v["id"], [node["html"] for node in v["nodes"]][:3])
        for v in found.response["violations"]
        if v["impact"] in ("serious", "critical")
    ]


def enter(tab, label, number):
    """Write into a field of numbers as a person does, which Firefox wants."""
    field = tab.get_by_label(label)
    field.focus()
    field.press("Control+a")
    field.press_sequentially(number)


def test_sort_and_filter(tab, report):
    tab.goto((report / "out" / "index.html").as_uri())
    assert names(tab) == [f"site/{k}" for k in ("aaa", "bbb", "ddd", "ccc", "fff", "eee")]
    tab.get_by_role("button", name="Slices").click()
    assert names(tab)[0] == "site/aaa"
    tab.get_by_role("button", name="Slices").click()
    assert names(tab)[0] == "site/eee"
    assert tab.locator("th[aria-sort]").all_inner_texts() == ["Slices"]
    tab.get_by_role("button", name="Study").click()
    assert names(tab) == sorted(names(tab))
    tab.get_by_label("Modality").select_option("CT")
    assert names(tab) == ["site/fff"]
    tab.get_by_role("button", name="Reset").click()
    expect(tab.locator("#rows tr")).to_have_count(6)
    tab.get_by_label("Flag").select_option("flagged")
    assert names(tab) == ["site/aaa", "site/bbb"]
    assert tab.get_by_role("status").inner_text() == "2 of 6 studies"
    tab.get_by_label("Flag").select_option("")
    tab.get_by_label("From").fill("2023-01-01")
    tab.get_by_label("to", exact=True).fill("2023-12-31")
    assert names(tab) == ["site/fff"]
    tab.reload()
    assert names(tab) == ["site/fff"], "the address keeps what was asked for"
    tab.get_by_role("button", name="Reset").click()
    tab.get_by_label("Search").fill("SITE/E 1.2.840")
    assert names(tab) == ["site/eee"]
    tab.get_by_label("Search").fill("no such thing")
    assert names(tab) == []


@in_chromium
def test_paper_says_what_a_filter_leaves(tab, report):
    tab.goto((report / "out" / "index.html").as_uri())
    asked = tab.locator("#asked")
    tab.get_by_label("Flag").select_option("flagged")
    tab.get_by_label("to", exact=True).fill("2023-12-31")
    tab.get_by_label("Search").fill("site/")
    assert not asked.is_visible(), "the filters themselves say it"
    tab.emulate_media(media="print")
    assert asked.inner_text() == "Only those with Search: site/; Flag: flagged; to: 2023-12-31"
    assert tab.get_by_role("status").inner_text() == "0 of 6 studies"
    assert not tab.get_by_role("button", name="Next").is_visible()
    tab.emulate_media(media="screen")
    tab.get_by_role("button", name="Reset").click()
    expect(tab.get_by_role("status")).to_have_text("6 of 6 studies")
    tab.emulate_media(media="print")
    assert asked.inner_text() == ""


@pytest.mark.parametrize("page", ["out/index.html", "single.html"])
def test_what_is_said_of_a_wide_table_is_as_wide_as_the_window(tab, report, page):
    tab.set_viewport_size({"width": 900, "height": 900})
    tab.goto((report / page).as_uri())
    said = tab.locator(".studies caption").bounding_box()
    window = tab.locator(".scroll").first.bounding_box()
    assert tab.locator(".studies").bounding_box()["width"] > window["width"]
    assert (said["x"], said["width"]) == pytest.approx((window["x"], window["width"]), abs=1)


@in_chromium
@pytest.mark.parametrize("page", ["out/index.html", "out/run.html", "single.html"])
def test_what_is_hidden_takes_no_room(tab, report, page):
    """A row without a picture has no broken one."""
    tab.goto((report / page).as_uri())
    assert tab.locator("[hidden]").evaluate_all("all => all.every((e) => !e.offsetHeight)")


def test_keyboard(tab, report):
    tab.goto((report / "out" / "index.html").as_uri())
    for key in "jjjk":
        tab.keyboard.press(key)
    assert tab.locator("#rows tr:focus th a").inner_text() == "site/bbb"
    tab.keyboard.press("/")
    tab.keyboard.type("jccc")
    assert tab.get_by_label("Search").input_value() == "jccc", "letters typed are not commands"
    tab.get_by_label("Search").fill("ccc")
    tab.locator("h1").click()
    tab.keyboard.press("j")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/studies/ccc.html")
    tab.locator(".viewer.ready").wait_for()
    tab.keyboard.press("j")
    tab.wait_for_url("**/studies/fff.html")
    tab.keyboard.press("k")
    tab.wait_for_url("**/studies/ccc.html")
    tab.keyboard.press("u")
    tab.wait_for_url("**/index.html*")


def pixels(tab, nth=0):
    """RGBA of a heatmap as it is painted, (S, S, 4)."""
    address = tab.locator(".heat").nth(nth).evaluate("canvas => canvas.toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))) as picture:
        return np.asarray(picture.convert("RGBA")).astype(float)


def test_slider_wheel_and_keys_step_through_slices(tab, report):
    opened(tab, report, "aaa")
    viewer = tab.locator(".viewer").first
    slider, now = viewer.get_by_label("Slice", exact=True), viewer.locator(".now")
    assert now.inner_text().startswith("Slice 13 of 24, score 0.950")
    assert tab.locator(".pane.painted img").first.get_attribute("src") == "aaa/s1-0013.jpg"
    slider.fill("3")
    assert now.inner_text().startswith("Slice 4 of 24")
    assert viewer.locator(".source .none").is_visible()
    viewer.locator(".painted").hover()
    tab.mouse.wheel(0, 100)
    expect(now).to_have_text(re.compile("^Slice 5 of"))
    viewer.focus()
    for key in ("ArrowRight", "ArrowUp", "ArrowLeft", "PageUp"):
        tab.keyboard.press(key)
    assert now.inner_text().startswith("Slice 11 of 24")
    tab.keyboard.press("Home")
    assert "not scored: empty (background only)" in now.inner_text()
    assert not viewer.locator(".painted .heat").is_visible()
    viewer.locator(".wide").click(position={"x": 1, "y": 20})
    viewer.locator("[data-position]").nth(1).click()
    assert re.match(r"Slice 1[24] of 24, score 0\.8", now.inner_text())


def test_overlay_contours_and_panes(tab, report):
    opened(tab, report, "aaa")
    viewer = tab.locator(".viewer").first
    painted = pixels(tab)
    y, x = np.argwhere(painted[..., 3] == painted[..., 3].max()).mean(0) / len(painted) * 2 - 1
    assert abs(x - 0.35) < 0.1, "the spot lies where the map has it"
    assert abs(y + 0.3) < 0.1
    assert (painted[0, 0, 3], painted[..., 3].max()) == (0, 255)
    canvas, contour = viewer.locator(".painted .heat"), viewer.locator(".painted .contour").last
    assert canvas.evaluate("c => getComputedStyle(c).opacity") == "0.6"
    viewer.get_by_label("Opacity").fill("25")
    assert canvas.evaluate("c => getComputedStyle(c).opacity") == "0.25"
    points = np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", contour.get_attribute("d")), float)
    assert np.abs(points.mean(0) / 50 - 1 - (0.35, -0.3)).max() < 0.05
    tab.keyboard.press("c")
    assert contour.get_attribute("d") == ""
    tab.keyboard.press("h")
    assert not canvas.is_visible()
    tab.keyboard.press("s")
    assert not viewer.locator(".source").is_visible()
    assert viewer.locator(".letter").all_text_contents()[:4] == ["A", "P", "R", "L"]
    viewer.locator(".painted").hover()
    assert "; map 0." in viewer.locator(".here").inner_text()


def test_the_painted_colours_are_those_of_the_scale(tab, report):
    opened(tab, report, "aaa")
    at = 12
    stack = make.few_studies()[0].stacks[0]
    scale = make.scale()
    side = 192
    want = scale.overlay(np.zeros((side, side, 1), np.uint8), stack.heatmap[at])
    found = pixels(tab)
    shown = found[..., :3] * found[..., 3:] / 255 * 0.6
    assert np.abs(shown - want).max() <= 4, "but for 8 bits of opacity"


@in_chromium
@pytest.mark.parametrize(
    ("scheme", "page"),
    [
        ("light", "out/index.html"),
        ("light", "out/run.html"),
        ("light", "out/studies/aaa.html"),
        ("dark", "single.html"),
    ],
)
def test_people_with_a_screen_reader_can_use_it(tab, report, scheme, page):
    coloured(tab, scheme)
    tab.goto((report / page).as_uri())
    for summary in tab.locator("summary").all()[:1]:
        summary.click()
    assert serious(tab) == []


def test_it_can_be_read_at_200_percent(tab, report):
    tab.set_viewport_size({"width": 650, "height": 450})
    opened(tab, report, "aaa")
    wide = tab.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, "a study never scrolls sideways"


def copied(tab):
    """What the clipboard holds, pasted with the keyboard, as a person would."""
    tab.evaluate("document.body.prepend(document.createElement('textarea'))")
    tab.locator("body > textarea").focus()
    tab.keyboard.press("Control+v")
    return tab.locator("body > textarea").input_value()


PAGES = ("out/index.html", "out/studies/bbb.html", "single.html")
WAYS = ("clipboard", "refused", "missing")
COPIED = [
    *itertools.product(["chromium"], PAGES, WAYS),
    *itertools.product(["firefox"], PAGES[:1], WAYS),
]
"""Pages by browser, and how the browser keeps what is copied: all pages have the same script."""


@pytest.mark.parametrize(("browser", "page", "way"), COPIED, indirect=["browser"])
def test_the_uid_is_copied_with_mouse_or_keyboard(tab, report, page, way):
    if way != "clipboard":
        value = (
            "{writeText: () => Promise.reject(new Error())}" if way == "refused" else "undefined"
        )
        tab.add_init_script(f"Object.defineProperty(navigator, 'clipboard', {{value: {value}}})")
    tab.clock.install()
    tab.goto((report / page).as_uri())
    index = "studies" not in page
    button = tab.get_by_role("button", name="Copy UID").nth(1 if index else 0)
    if way == "clipboard":
        button.click()
    else:
        button.focus()
        tab.keyboard.press("Enter")
    tab.get_by_role("button", name="Copied").wait_for()
    assert tab.url == (report / page).as_uri(), "the row was not opened"
    if way != "clipboard":
        assert tab.evaluate("document.activeElement.textContent") == "Copied"
    assert copied(tab) == make.uid("bbb")
    tab.clock.fast_forward("00:03")
    button.get_by_text("Copy UID").wait_for()


@in_chromium
def test_only_a_valid_uid_can_be_copied(tab, tmp_path):
    studies = [
        make.study("aaa", [make.stack("s1", 0.9, 3)], StudyInstanceUID="0123456789abcdef"),
        make.study("bbb", [make.stack("s1", 0.8, 3)], StudyInstanceUID="1234567890123456"),
        make.study("ccc", [make.stack("s1", 0.7, 3)], StudyInstanceUID=""),
        make.study("ddd", [make.stack("s1", 0.6, 3)], StudyInstanceUID="1.2." + "3" * 61),
    ]
    write_report([make.results(tmp_path, studies)], tmp_path / "out")
    for page in sorted((tmp_path / "out").rglob("*.html")):
        tab.goto(page.as_uri())
        tab.locator("h1").wait_for()
        assert tab.get_by_role("button", name="Copy UID").count() == 0, page
    tab.goto((tmp_path / "out" / "studies" / "aaa.html").as_uri())
    assert tab.get_by_text("0123456789abcdef").is_visible()


LINK = "https://viewer.example/v?a=b&study={StudyInstanceUID}"


def links(tab):
    """Addresses outside the report that a page offers."""
    outside = tab.locator("a[target]:visible")
    assert outside.evaluate_all("all => all.every((a) => a.rel === 'noreferrer')")
    return outside.evaluate_all("all => all.map((a) => a.href)")


@in_chromium
@pytest.mark.parametrize("page", ["out/index.html", "out/studies/aaa.html", "single.html"])
def test_studies_are_linked_to_another_program(tab, tmp_path, page):
    studies = [
        make.study("aaa", [make.stack("s1", 0.9, 3)]),
        make.study("bbb", [make.stack("s1", 0.8, 3)], StudyInstanceUID="1.2'><b>x"),
    ]
    results = make.results(tmp_path, studies, make.run(link_template=LINK))
    options = ReportOptions(most=0)
    write_report([results], tmp_path / "out", options)
    write_html([results], tmp_path / "single.html", options)
    tab.goto((tmp_path / page).as_uri())
    assert links(tab) == [f"https://viewer.example/v?a=b&study={make.uid('aaa')}"]
    if page == "single.html":  # whose studies have no pages of their own
        tab.locator("#rows tr").nth(0).click(position={"x": 5, "y": 5})
        tab.keyboard.press("j")
        tab.keyboard.press("Enter")
        assert tab.url == (tmp_path / page).as_uri(), "a row opens its study and nothing else"


@in_chromium
@pytest.mark.parametrize("template", ["javascript:document.title='pwned//{StudyInstanceUID}'", ""])
def test_a_template_that_is_not_one_makes_no_link(tab, tmp_path, template):
    results = make.results(tmp_path, make.few_studies(), make.run(link_template=template))
    for options, folder in ((DEFAULT, "own"), (ReportOptions(link_template=""), "none")):
        write_report([results], tmp_path / folder, options)
        for page in ("index.html", "studies/aaa.html"):
            tab.goto((tmp_path / folder / page).as_uri())
            assert links(tab) == []


@in_chromium
def test_a_report_names_its_own_template(tab, tmp_path):
    one = make.results(tmp_path, make.few_studies()[:1], make.run(link_template=LINK))
    two = make.results(tmp_path, make.few_studies()[1:2], make.run(), "two.h5")
    write_report([one, two], tmp_path / "out")
    tab.goto((tmp_path / "out" / "index.html").as_uri())
    assert links(tab) == [LINK.replace("{StudyInstanceUID}", make.uid("aaa"))]
    options = ReportOptions(link_template="http://other/{StudyInstanceUID}")
    write_report([one, two], tmp_path / "out", options)
    tab.goto((tmp_path / "out" / "index.html").as_uri())
    assert links(tab) == [f"http://other/{make.uid(key)}" for key in ("aaa", "bbb")]


@in_chromium
def test_an_accession_number_is_shown_found_and_copied(tab, tmp_path):
    first = make.study("aaa", [make.stack("s1", 0.9, 3)], accession_number="A'<b>7")
    second = make.study("bbb", [make.stack("s1", 0.8, 3)], accession_number="B8")
    write_report([make.results(tmp_path, [first, second])], tmp_path / "out")
    tab.goto((tmp_path / "out" / "index.html").as_uri())
    tab.get_by_label("Search").fill("a'<b>7")
    assert names(tab) == ["site/aaa"]
    assert tab.get_by_text("accession A'<b>7").is_visible()
    tab.goto((tmp_path / "out" / "studies" / "aaa.html").as_uri())
    tab.get_by_role("button", name="Copy number").click()
    tab.get_by_role("button", name="Copied").wait_for()
    assert copied(tab) == "A'<b>7"


def test_single_file_opens_a_study_in_place(tab, report):
    tab.goto((report / "single.html").as_uri())
    tab.locator("#rows a").nth(0).click()
    tab.locator("details[open] .viewer.ready").first.wait_for()
    assert tab.locator("details[open] .now").first.inner_text().startswith("Slice 13 of 24")
    files = [url for url in tab.asked if not url.startswith("data:")]
    assert files in ([(report / "single.html").as_uri()], []), "Firefox does not tell of files"


@in_chromium
def test_without_scripts_it_is_still_a_list(browser, report):
    page = browser.new_page(java_script_enabled=False)
    page.goto((report / "out" / "index.html").as_uri())
    assert page.locator("#rows tr").count() == 6
    assert not page.locator(".filters").is_visible()
    page.locator("#rows a").first.click()
    assert page.locator(".source img").first.is_visible()
    assert not page.locator(".controls").first.is_visible()
    page.close()


def test_hostile_texts_are_shown_and_do_nothing(tab, tmp_path):
    results = make.results(tmp_path, hostile.studies(), hostile.run())
    write_report([results], tmp_path / "out")
    write_html([results], tmp_path / "single.html")
    pages = [*sorted((tmp_path / "out").rglob("*.html")), tmp_path / "single.html"]
    assert len(pages) == 7
    for page in pages:
        tab.goto(page.as_uri())
        for summary in tab.locator("summary").all()[:1]:
            summary.click()
        assert tab.title() != "pwned"
        assert tab.locator("img[onerror], body script:not([type]):not([src])").count() <= 1
        assert "49" not in tab.locator("h1").inner_text()
        assert not set("\u202e\u2066\x1b") & set(tab.content())
        assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    tab.goto((tmp_path / "out" / "index.html").as_uri())
    tab.get_by_label("Search").fill("<script>document")
    assert "<script>document.title" in names(tab)[1]
    assert "\\u202egnp.exe\\u2066" in names(tab)[1]


@pytest.fixture
def thousands(tmp_path):
    """The index of 3,000 studies."""
    results = make.results(tmp_path, make.few_studies())
    report = Report([results], DEFAULT)
    few = [report.entry(row, f"studies/{row.study.key}.html", "") for row in report.rows]
    many = [few[i % 5] | {"rank": str(i + 1), "name": f"study-{i}"} for i in range(3000)]
    (tmp_path / "index.html").write_text(render("index.html", report.index(many), root=""), "utf-8")
    for name in ("style.css", "script.js"):
        (tmp_path / name).write_text(asset(name), "utf-8")
    return (tmp_path / "index.html").as_uri()


@in_chromium
def test_thousands_of_studies_take_little_memory(tab, thousands):
    tab.goto(thousands)
    client = tab.context.new_cdp_session(tab)
    client.send("Performance.enable")
    metrics = {m["name"]: m["value"] for m in client.send("Performance.getMetrics")["metrics"]}
    assert metrics["Nodes"] < 20_000
    assert metrics["JSHeapUsedSize"] < 100 << 20
    tab.emulate_media(media="print")
    assert not tab.locator(".filters").is_visible()


@in_chromium
def test_thousands_of_studies_are_a_page_of_fifty(tab, thousands):
    tab.goto(thousands)
    assert len(names(tab)) == 50
    assert tab.locator("#page").inner_text() == "Page 1 of 60"
    tab.get_by_label("Search").fill("study-29")
    assert tab.get_by_role("status").inner_text() == "111 of 3000 studies"
    tab.get_by_role("button", name="Next").click()
    tab.get_by_role("button", name="Next").click()
    assert len(names(tab)) == 11
    assert tab.get_by_role("button", name="Next").is_disabled()
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert len(names(tab)) == 111, "all that the filter leaves is printed"
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    tab.locator("#rows tr").first.focus()
    tab.keyboard.press("k")
    assert tab.locator("#page").inner_text() == "Page 2 of 3"
