"""Verdicts: what is read of a CSV file, what is refused, and what pages make of them."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medscan.errors import UsageError
from medscan.report import ReportOptions, Verdict, read_decisions, write_html, write_report
from medscan.report.agreement import agreement
from medscan.report.worklist import rank
from tests.report import make
from tests.report.markup import Page


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """aaa has the stacks s1 (24 slices) and s2 (12), ddd one slice, eee was not scored."""
    return [make.results(tmp_path_factory.mktemp("results"), make.few_studies())]


@pytest.fixture
def read(tmp_path, results):
    """Reads verdicts from text or bytes."""

    def call(text):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "d.csv").write_bytes(data)
        return read_decisions(tmp_path / "d.csv", results)

    return call


def test_verdicts_on_studies_stacks_and_slices(read):
    text = (
        "study,comment,verdict,slice,stack,who\n"
        "aaa,first,abnormal,13,s1,x\n"
        "aaa,,Normal,,s2,x\n"
        "bbb,,normal,,,\n"
        f"{make.uid('ccc')},,UNSURE,,s1,\n"
        "ddd,,,1,,\n"
        "\n"
        "eee,,normal\n"
    )
    found = read(text)
    assert found.studies == {
        "aaa": {("s1", 13): "abnormal", ("s2", 0): "normal"},
        "bbb": {("", 0): "normal"},
        "ccc": {("", 0): "unsure"},
        "eee": {("", 0): "normal"},
    }
    assert (found.rows, found.digest) == (5, hashlib.sha256(text.encode()).hexdigest())
    assert [found.verdict(key) for key in ("aaa", "bbb", "ccc", "ddd")] == [
        *(Verdict.ABNORMAL, Verdict.NORMAL, Verdict.UNSURE),
        None,
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfstudy;verdict;slice\r\nddd;normal;1\r\n",
        b'"Study"\t"Verdict"\t"Slice"\r\n"ddd"\t" normal "\t"1.0"\r\n',
        b"study,verdict,slice,comment\nddd,normal,1,\xfcberh\xe4ngend\xff\n",
        b'study,verdict,slice,comment\nddd,normal,1,"two\nlines, and ""more"""\n',
        b"study,verdict,slice,,\nddd,normal,1,,,,,\n",
        b"study,verdict,slice\nddd,normal,1\nddd,normal,1\n",
    ],
)
def test_whatever_a_spreadsheet_writes(read, data):
    assert read(data).studies == {"ddd": {("s1", 1): Verdict.NORMAL}}


@pytest.mark.parametrize(
    ("rows", "hint"),
    [
        ("zzz,normal,,", "row 2: the results have no study 'zzz'"),
        ("ddd,normal,,\nddd,ill,,", "row 3: unknown verdict 'ill': write abnormal, normal, unsure"),
        ("aaa,abnormal,25,s1", "row 2: stack s1 has no slice '25': number its slices from 1 to 24"),
        ("aaa,abnormal,0,s1", "row 2: stack s1 has no slice '0'"),
        ("aaa,abnormal,-1,s1", "row 2: stack s1 has no slice '-1'"),
        ("aaa,abnormal,1e1,s1", "row 2: stack s1 has no slice '1e1'"),
        ("aaa,abnormal,\u0663,s1", "row 2: stack s1 has no slice '\u0663'"),
        ("aaa,abnormal,3,", "row 2: study aaa has 2 stacks: name one for the slice"),
        ("aaa,abnormal,3,s9", "row 2: study aaa has no stack 's9'"),
        ("eee,abnormal,3,", "row 2: study eee has 0 stacks"),
        ("ddd,normal,,\nddd,abnormal,,", "row 3: it says abnormal, but row 2 says normal"),
        (
            f"ddd,normal,,\n{make.uid('ddd')},unsure,,",
            "row 3: it says unsure, but row 2 says normal",
        ),
        ("aaa,abnormal,3,s1\nbbb,normal,,\naaa,normal,,", "row 4: it contradicts row 2"),
        ("aaa,unsure,,s1\naaa,abnormal,3,s1", "row 3: it contradicts row 2"),
        ("=cmd|' /C calc'!A0,normal,,", "row 2: the results have no study '=cmd|"),
        ("\x1b[31m\u202e,normal,,", "no study '\\x1b[31m\\u202e'"),
        ("ddd,normal,,,extra", "row 2: it has more cells than the first row"),
        ('ddd,normal,,\n"ddd,normal,,', "row 3: invalid CSV"),
        ('ddd,normal,"a"b,', "row 2: invalid CSV"),
        (f"{'d' * 200_000},normal,,", "row 2: invalid CSV"),
    ],
)
def test_a_row_that_cannot_be_is_named(read, rows, hint):
    with pytest.raises(UsageError) as told:
        read(f"study,verdict,slice,stack\n{rows}\n")
    assert hint in str(told.value)
    assert str(told.value).isprintable()
    assert len(str(told.value)) < 400


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"study,slice\nddd,1\n",
        b"study,verdict,verdict\n",
        b"study,verdict,slice,slice\n",
        b"\x00" * 100_000,
        b"PK\x03\x04",
    ],
)
def test_what_is_no_file_of_verdicts_is_refused(read, data):
    with pytest.raises(UsageError, match="row 1: it must name the columns study and verdict"):
        read(data)


def test_a_file_that_is_not_there_is_refused(tmp_path, results):
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(UsageError, match="does not exist or is not a file"):
            read_decisions(path, results)


@given(
    st.binary(max_size=300) | st.text(max_size=300).map(lambda t: f"study,verdict\n{t}".encode())
)
def test_any_bytes_are_read_or_refused_in_a_line(tmp_path_factory, results, data):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(data)
    try:
        read_decisions(path, results)
    except UsageError as told:
        assert "\n" not in str(told)  # noqa: PT017


def test_many_rows(read):
    """The last one is wrong; were each compared with all before it, it would take many minutes."""
    rows = "aaa,normal,3,s1\n" * 100_000
    with pytest.raises(UsageError, match="row 100002"):
        read(f"study,verdict,slice,stack\n{rows}aaa,abnormal,3,s1\n")


# --- pages --------------------------------------------------------------------------------------

TEXT = "study,verdict,slice,stack\naaa,abnormal,13,s1\nbbb,normal,,\nccc,abnormal,,\n"


def test_agreement_counts_scored_studies(read, results):
    found = agreement(rank(results), read(f"{TEXT}ddd,unsure,,\neee,normal,,\n"))
    assert found.counts == {
        (Verdict.ABNORMAL, True): 1,
        (Verdict.ABNORMAL, False): 1,
        (Verdict.NORMAL, True): 1,
        (Verdict.NORMAL, False): 0,
    }
    assert (found.sensitivity, found.specificity) == ("1 of 2 (50 %)", "0 of 1 (0 %)")
    assert (found.unsure, found.unscored) == (1, 1)
    assert agreement(rank(results), read("study,verdict\n")).sensitivity == ""


def test_the_pages_show_the_verdicts(read, results, tmp_path):
    options = ReportOptions(decisions=read(TEXT))
    write_report(results, tmp_path / "out", options)
    index = Page(tmp_path / "out" / "index.html").text
    assert "flagged abnormal" in index
    assert "not flagged provisional threshold: too few normals abnormal" in index
    assert "Verdicts: slice 13 of stack s1: abnormal." in Page(study(tmp_path, "aaa")).text
    assert "Verdicts:" not in Page(study(tmp_path, "ddd")).text
    run = Page(tmp_path / "out" / "run.html").text
    assert "abnormal 1 1 1 of 2 (50 %) flagged: sensitivity" in run
    assert "normal 1 0 0 of 1 (0 %) not flagged: specificity" in run
    assert "not a random sample" in run
    write_html(results, tmp_path / "one.html", options)
    assert "Verdicts: slice 13 of stack s1: abnormal." in Page(tmp_path / "one.html").text
    write_report(results, tmp_path / "out")
    assert "sensitivity" not in Page(tmp_path / "out" / "run.html").text


def study(tmp_path, key):
    return tmp_path / "out" / "studies" / f"{key}.html"


def test_a_comment_goes_nowhere(read, results, tmp_path):
    """It may name the patient."""
    decisions = read(f"study,verdict,comment\naaa,normal,{'Zwetschkenbaum'}\n")
    write_report(results, tmp_path / "out", ReportOptions(decisions=decisions))
    pages = [p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert pages
    assert not any(b"Zwetschkenbaum" in page for page in pages)
