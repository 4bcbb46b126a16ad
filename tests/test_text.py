import pytest
from hypothesis import given
from hypothesis import strategies as st

from medscan.text import cell, is_uid, printable

ANY = st.text(st.characters(codec=None), max_size=60)


@given(ANY)
def test_everything_becomes_printable_and_encodable(text):
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")


@given(ANY, st.integers(20, 40))
def test_a_limit_holds_before_escapes(text, limit):
    assert len(printable(text.translate({}), limit)) <= 10 * limit
    plain = "x" * 500
    assert len(printable(plain, limit)) == limit


def test_printable_text_stays():
    assert printable("Kopf/Schädel, 脳 🧠") == "Kopf/Schädel, 脳 🧠"
    assert printable("a\u202eb\x1b[31m\udcff\t") == "a\\u202eb\\x1b[31m\\udcff\\t"


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-a", "@SUM(A1)", "\t=1", "\r=1", "  =1", '"=1', "\uff1d1", "\n=1"]
)
def test_formulas_are_defused(text):
    assert cell(text)[0] == "'" or cell(text)[0] == "\\"
    assert cell("x;" + text)[2] in "'\\"


@pytest.mark.parametrize("text", ["0.5", "-0.5", "12", "a=b", "1.2.840.1", "a-b", ""])
def test_numbers_and_plain_text_are_left_alone(text):
    assert cell(text) == text


@given(ANY)
def test_no_cell_starts_a_formula(text):
    for part in cell(text).split(";"):
        start = part.lstrip(" '\"")[:1]
        if start and start in "=+-@\uff1d\uff0b\uff0d\uff20" and not _number(cell(text)):
            assert part.lstrip(" ")[:1] == "'"


def _number(text):
    return text.lstrip("-").replace(".", "", 1).isdigit()


def test_a_uid_is_digits_between_points():
    assert is_uid("1.2.840.10008")
    for text in ("", "1", "1.", ".1", "1..2", "1.2a", "1.\u0662", "1." + "2" * 63, "1.2\n"):
        assert not is_uid(text), text
