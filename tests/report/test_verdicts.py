"""Verdicts given in a real browser, kept there and saved as a file that medscan reads."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from medscan.report import ReportOptions, read_decisions, write_html, write_report
from tests.report import make
from tests.report.test_browser import coloured, in_chromium, serious


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return make.results(tmp_path_factory.mktemp("results"), make.few_studies())


@pytest.fixture
def report(tmp_path, results):
    """With a verdict on bbb that was given before."""
    (tmp_path / "d.csv").write_text("study,verdict\nbbb,unsure\n")
    options = ReportOptions(decisions=read_decisions(tmp_path / "d.csv", [results]))
    write_report([results], tmp_path / "out", options)
    write_html([results], tmp_path / "single.html", options)
    return tmp_path


@pytest.fixture
def tab(tab, report):
    """Begins at the list, with nothing kept of tests before."""
    tab.goto((report / "out" / "index.html").as_uri())
    tab.evaluate("localStorage.clear()")
    tab.reload()
    return tab


def judged(tab):
    return {
        row.locator("th a").inner_text(): row.locator(".verdict").inner_text()
        for row in tab.locator("#rows tr").all()
        if row.locator(".verdict").inner_text()
    }


def saved(tab, report):
    if tab.context.browser.browser_type.name == "firefox":
        return handed_over(tab, report)
    with tab.expect_download() as told:
        tab.get_by_role("button", name="Save as CSV").click()
    assert told.value.suggested_filename == "decisions.csv"
    told.value.save_as(report / "saved.csv")
    return report / "saved.csv"


def handed_over(tab, report):
    """The same, as the page hands it to the browser: one that is driven so saves nothing."""
    tab.evaluate("""() => {
      const make = URL.createObjectURL;
      URL.createObjectURL = (blob) => {
        window.handedOver = blob.text();
        return make.call(URL, blob);
      };
    }""")
    tab.get_by_role("button", name="Save as CSV").click()
    (report / "saved.csv").write_text(tab.evaluate("window.handedOver"))
    return report / "saved.csv"


def test_verdicts_of_several_studies_come_together_in_one_file(tab, report, results):
    assert judged(tab) == {"site/bbb": "unsure"}
    assert not tab.locator(".judged").is_visible()
    tab.get_by_role("link", name="site/aaa").click()
    tab.locator(".viewer.ready").first.wait_for()
    told = tab.locator(".judge [role=status]")
    tab.keyboard.press("n")
    assert told.inner_text() == "normal"
    tab.keyboard.press("a")
    assert told.inner_text() == "abnormal: slice 13"
    tab.get_by_label("Slice", exact=True).first.fill("9")
    tab.get_by_role("button", name="Abnormal at this slice").click()
    assert told.inner_text() == "abnormal: slice 13, slice 10"
    pressed = tab.locator(".judge [aria-pressed=true]")
    expect(pressed).to_have_text("Abnormal at this slice a")
    tab.keyboard.press("j")
    tab.wait_for_url("**/bbb.html")
    tab.keyboard.press("n")
    tab.keyboard.press("j")
    tab.wait_for_url("**/ddd.html")
    tab.get_by_role("button", name="Unsure").click()
    tab.get_by_role("button", name="Take back").click()
    assert told.inner_text() == ""
    assert not tab.get_by_role("button", name="Take back").is_visible()
    tab.keyboard.press("u")
    tab.wait_for_url("**/index.html")
    assert judged(tab) == {"site/aaa": "abnormal", "site/bbb": "normal"}
    assert "2 studies are kept in this browser only" in tab.locator(".judged").inner_text()
    found = read_decisions(saved(tab, report), [results])
    assert found.studies == {
        "aaa": {("s1", 10): "abnormal", ("s1", 13): "abnormal"},
        "bbb": {("", 0): "normal"},
    }
    tab.get_by_label("Verdict").select_option("none")
    assert tab.get_by_role("status").first.inner_text() == "3 of 5 studies"
    tab.get_by_label("Verdict").select_option("abnormal")
    assert judged(tab) == {"site/aaa": "abnormal"}
    tab.get_by_label("Verdict").select_option("")
    tab.get_by_role("button", name="Forget them").click()
    assert judged(tab) == {"site/bbb": "unsure"}


@in_chromium
def test_the_second_viewer_in_use_is_the_one_that_is_meant(tab, report, results):
    tab.get_by_role("link", name="site/aaa").click()
    viewer = tab.locator(".viewer").nth(1)
    viewer.scroll_into_view_if_needed()
    viewer.locator("xpath=self::*[contains(@class, 'ready')]").wait_for()
    viewer.focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("a")
    tab.goto((report / "out" / "index.html").as_uri())
    (target,) = read_decisions(saved(tab, report), [results]).studies["aaa"]
    assert target == ("s2", 8)


@in_chromium
def test_a_viewer_whose_slices_the_wheel_turns_is_in_use(tab, report, results):
    """Else the verdict would be on the slice that the first viewer shows."""
    tab.get_by_role("link", name="site/aaa").click()
    viewer = tab.locator(".viewer").nth(1)
    viewer.scroll_into_view_if_needed()
    viewer.locator("xpath=self::*[contains(@class, 'ready')]").wait_for()
    viewer.locator(".panes").hover()
    tab.mouse.wheel(0, 10)
    expect(viewer.locator(".now")).to_contain_text("Slice 8 of")
    tab.keyboard.press("a")
    tab.goto((report / "out" / "index.html").as_uri())
    (target,) = read_decisions(saved(tab, report), [results]).studies["aaa"]
    assert target == ("s2", 8)


def test_single_file_keeps_them_too(tab, report, results):
    tab.goto((report / "single.html").as_uri())
    tab.locator("#rows a").nth(0).click()
    tab.locator("details[open] .viewer.ready").first.wait_for()
    tab.locator("details[open] .viewer").first.focus()
    tab.keyboard.press("a")
    assert tab.locator("details[open] .judge [role=status]").inner_text() == "abnormal: slice 13"
    assert judged(tab)["site/aaa"] == "abnormal"
    assert read_decisions(saved(tab, report), [results]).verdict("aaa") == "abnormal"


@in_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_people_with_a_screen_reader_can_judge(tab, report, scheme):
    coloured(tab, scheme)
    tab.get_by_role("link", name="site/bbb").click()
    tab.get_by_role("button", name="Normal n", exact=True).click()
    assert serious(tab) == []
    tab.goto((report / "out" / "index.html").as_uri())
    assert serious(tab) == []
    tab.goto((report / "out" / "run.html").as_uri())
    assert serious(tab) == []


def test_where_pages_do_not_share_what_they_keep_no_verdict_is_asked_for(browser, report):
    """Such as a page that is opened alone: it would be lost."""
    page = browser.new_page()
    page.goto((report / "out" / "studies" / "aaa.html").as_uri())
    page.locator(".viewer.ready").first.wait_for()
    assert not page.locator(".judge").is_visible()
    page.keyboard.press("n")
    assert page.evaluate("localStorage.length") == 0
    page.close()


@in_chromium
def test_hostile_keys_are_not_saved(tab, report):
    """Whatever wrote it: what is saved holds no formula."""
    tab.evaluate(
        """() => localStorage.setItem(Object.keys(localStorage)[0],
        JSON.stringify({"=cmd()": {"": "normal"},
            "aaa": {"s1 3": "abnormal", "@x 1": "=1", "a b 1": "normal"}}))"""
    )
    tab.reload()
    assert Path(saved(tab, report)).read_text() == (
        "study,stack,slice,verdict\naaa,s1,3,abnormal\n"
    )
