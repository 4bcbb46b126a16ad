import dataclasses
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from medscan.errors import DiskError
from medscan.report import page as page_module
from medscan.report import write_html
from medscan.results import State
from tests.report import make

VOID = {"meta", "img", "br"}
EVIL = "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
RTL = "\u202egnp.exe\u2066"


class Page(HTMLParser):
    """The tags, attributes and visible text of a page; fails where tags do not nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words, self.source = [], [], [], text
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def rendered(tmp_path, studies, info=None):
    results = make.results(tmp_path, studies, info)
    write_html([results], tmp_path / "w.html")
    return Page((tmp_path / "w.html").read_text("utf-8"))


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return rendered(tmp_path_factory.mktemp("few"), make.few_studies())


def test_studies_in_order_with_words_and_shapes(few):
    text = few.text
    assert "2 of 5 studies flagged, 1 not scored" in text
    order = [text.index(f"site/{key}") for key in ("aaa", "bbb", "ccc", "ddd", "eee")]
    assert order == sorted(order)
    for words in ("▲ flagged", "○ not flagged", "not scored", "provisional threshold", "80.0"):
        assert words in text
    assert "2024-01-31" in text
    assert "series 1.2.3.9: out-of-scope" in text


def test_accounting_adds_up_and_says_what_it_is(few):
    assert "files found 60 scanned 50 skipped 8 failed 2" in few.text
    assert "site/a/broken.dcm read truncated" in few.text
    assert "not-an-image it holds no image: text, archive, report, DICOMDIR 7" in few.text
    assert "medscan is research software and not a medical device." in few.text
    assert "mean of the top 5 % of its slices" in few.text
    assert "CC BY 4.0" in few.text


def test_pictures_come_in_pairs_and_missing_ones_say_why(few):
    images = few.all("img")
    assert all(i["src"].startswith("data:image/jpeg;base64,") for i in images)
    assert all(i["alt"] for i in images)
    # one legend; icons of aaa, ccc and ddd; pairs of 3 + 3 + 3 + 1 slices
    assert len(images) == 1 + 3 + 2 * 10
    assert "No pictures (withheld: may carry burned-in text)." in few.text


def test_legend_has_numbers(few):
    assert "0.200 normal patches 0.500 threshold for patches 0.800 or more" in few.text


def test_nothing_runs_and_nothing_is_fetched(few):
    (policy,) = [m["content"] for m in few.all("meta") if "http-equiv" in m]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not few.all("script")
    assert not few.all("link")
    for _, attrs in few.tags:
        assert not any(name.startswith("on") or name == "style" for name in attrs)
        assert attrs.get("href", "#").startswith("#")


def test_links_lead_somewhere_and_tables_are_named(few):
    ids = [a["id"] for _, a in few.tags if "id" in a]
    assert len(set(ids)) == len(ids)
    assert {a["href"][1:] for a in few.all("a")} <= set(ids)
    assert {a["aria-labelledby"] for _, a in few.tags if "aria-labelledby" in a} <= set(ids)
    assert few.source.count("<caption>") == len(few.all("table"))
    assert all(a.get("scope") in ("col", "row") for a in few.all("th"))
    assert few.all("html")[0]["lang"] == "en"


def hostile(tmp_path):
    words = EVIL + RTL
    info = {"modality": words, "body_part": words, "notes": [words], "description": words}
    stack = make.stack("s1", 0.9, 3, SeriesInstanceUID=words, plane=words, **info)
    stack = dataclasses.replace(stack, path=[words] * 3, sop_instance_uid=[words] * 3)
    long = make.stack("s1", 0.8, 3, description="A" * 10_000)
    studies = [
        make.study(
            "aaa", [stack], path=words, patient=words, patient_id=words, date=words, modality=words
        ),
        make.study("bbb", [long], path="B" * 10_000 + "\udcff\x1b[31m"),
        make.study("ccc", StudyInstanceUID=words, skipped=[[words, words]]),
    ]
    card = make.DETECTOR | {"name": words, "licence": words, "domain": words}
    run = make.run(
        detectors=[card],
        failures=[(words, words, words, words)],
        skipped=[(words, words)],
        command=words,
        aggregation=words,
    )
    return rendered(tmp_path, studies, run)


def test_hostile_text_is_inert(tmp_path):
    page = hostile(tmp_path)
    assert not page.all("script")
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert "<script>document.title" in page.text  # shown, as text
    assert "\\u202egnp.exe\\u2066" in page.text
    assert not set("\u202e\u2066\x1b") & set(page.source)
    assert "A" * 400 not in page.source
    assert "B" * 400 not in page.text
    assert "\\udcff\\x1b[31m" in page.text


def browser():
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


def chromium(folder, *arguments, fragment=""):
    """Run a browser of its own on the page in `folder`."""
    return subprocess.run(
        [
            browser(),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--enable-logging=stderr",
            "--virtual-time-budget=3000",
            f"--user-data-dir={folder / 'profile'}",
            *arguments,
            (folder / "w.html").as_uri() + fragment,
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )


@pytest.mark.skipif(browser() is None, reason="needs Chromium on PATH to render the page")
def test_a_real_browser_shows_it_and_runs_nothing(tmp_path):
    hostile(tmp_path)
    shot = tmp_path / "shot.png"
    done = chromium(
        tmp_path,
        "--dump-dom",
        f"--screenshot={shot}",
        "--window-size=1200,900",
        "--hide-scrollbars",
        "--blink-settings=preferredColorScheme=1",
    )
    assert "<title>medscan worklist: 2 of 3 studies flagged</title>" in done.stdout
    assert "pwned</title>" not in done.stdout
    # The policy let the style sheet and the pictures in, and had nothing to refuse.
    assert "Content Security Policy" not in done.stderr
    assert "CONSOLE" not in done.stderr
    shown = np.asarray(Image.open(shot).convert("RGB"))
    assert shown[5, 5].tolist() == [0xF6, 0xF7, 0xF9]
    assert (shown.std(axis=2) > 60).any()


@pytest.mark.skipif(browser() is None, reason="needs Chromium on PATH to follow a link")
def test_a_link_of_the_list_opens_its_study(tmp_path):
    rendered(tmp_path, make.few_studies())
    found = [chromium(tmp_path, "--dump-dom", fragment=to).stdout for to in ("", "#study-3")]
    assert [text.count("<details open") for text in found] == [2, 3]


def test_several_files_read_as_one(tmp_path):
    one = make.results(tmp_path, make.few_studies()[:2], name="1.h5")
    two = make.results(tmp_path, make.few_studies()[2:], name="2.h5")
    write_html([one, two], tmp_path / "w.html")
    page = Page((tmp_path / "w.html").read_text("utf-8"))
    assert "2 of 5 studies flagged" in page.text
    assert "files found 120" in page.text
    assert len([t for t in page.all("figure") if t.get("class") == "legend"]) == 1


def test_an_empty_result_is_a_page(tmp_path):
    empty = make.run(
        detectors=[],
        counts={"files": 0, "scanned": 0, "skipped": 0, "failed": 0},
        failures=[],
        skipped=[],
    )
    assert "No study is in the results." in rendered(tmp_path, [], empty).text


def test_a_detector_that_was_not_calibrated(tmp_path):
    nan = float("nan")
    card = make.DETECTOR | {"threshold": nan, "map_low": nan, "map_high": nan, "normals": []}
    stack = make.stack("s1", 0.9, 5, threshold=nan, provisional=True)
    page = rendered(tmp_path, [make.study("aaa", [stack])], make.run(detectors=[card]))
    assert "gives no colour scale" in page.text
    assert len(page.all("img")) == 1 + 3
    assert "nan" not in page.text.lower()


def test_a_stack_of_a_detector_that_the_file_does_not_name(tmp_path):
    page = rendered(
        tmp_path, [make.study("aaa", [make.stack("s1", 0.9, 5)])], make.run(detectors=[])
    )
    assert len(page.all("img")) == 1 + 3


def test_a_stack_without_a_scored_slice_beside_one_with(tmp_path):
    dark = make.stack("s2", n=3, pictures=0)
    dark.slice_score[:] = np.nan
    dark.state[:] = State.BACKGROUND
    dark = dataclasses.replace(dark, score=float("nan"), percentile=float("nan"))
    page = rendered(tmp_path, [make.study("aaa", [make.stack("s1", n=3), dark])])
    assert "No pictures (no slice was scored)." in page.text
    assert "slices: 3 background" in page.text


def test_colour_pictures(tmp_path):
    stack = make.stack("s1", 0.9, 3)
    stack = dataclasses.replace(stack, thumbnail=np.repeat(stack.thumbnail, 3, axis=3))
    assert len(rendered(tmp_path, [make.study("aaa", [stack])]).all("img")) == 1 + 1 + 6


def test_pictures_and_tables_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "PICTURED", 1)
    monkeypatch.setattr(page_module, "LISTED", 1)
    page = rendered(tmp_path, make.few_studies())
    assert len(page.all("img")) == 1 + 1 + 12
    assert "No pictures (only the 1 worst studies have them)." in page.text
    assert "; 1 more are in the results file" in page.text


def test_same_results_give_the_same_page(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    for name in ("a.html", "b.html"):
        write_html([results], tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_no_folder_is_a_disk_error(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    with pytest.raises(DiskError, match=r"w\.html"):
        write_html([results], tmp_path / "none" / "w.html")
