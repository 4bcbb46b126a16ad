import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medscan.errors import PacsError, UnavailableError
from medscan.pacs.multipart import bodies, boundary_of

HEAD = b"--b\r\nContent-Type: application/dicom\r\n\r\n"


def read(message, size=3, boundary=b"b"):
    chunks = (message[at : at + size] for at in range(0, len(message), size))
    return [b"".join(body) for body in bodies(chunks, boundary)]


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=40), max_size=4), st.integers(1, 50))
def test_bodies_are_as_they_were_sent(sent, size):
    sent = [body for body in sent if b"\r\n--b" not in b"\r\n" + body]
    message = b"".join(HEAD + body + b"\r\n" for body in sent) + b"--b--\r\n"
    assert read(message, size) == sent


def test_a_part_may_have_no_head_and_the_first_boundary_a_line_before_it():
    assert read(b"\r\n--b\r\n\r\nbody\r\n--b--") == [b"body"]


@pytest.mark.parametrize("end", range(len(HEAD + b"body\r\n--b--")))
def test_one_without_its_end_is_cut_short(end):
    with pytest.raises(UnavailableError, match="cut short"):
        read((HEAD + b"body\r\n--b--")[:end])


@pytest.mark.parametrize("message", [b"<html>--b--", b"--b\r\n" + b"x" * 70_000])
def test_what_is_no_such_message_is_refused(message):
    with pytest.raises(PacsError):
        read(message, 1000)


def test_a_body_that_nobody_reads_is_passed_over():
    message = HEAD + b"one\r\n" + HEAD + b"two\r\n--b--"
    assert [next(body)[:3] for body in bodies([message], b"b")] == [b"one", b"two"]


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        ("multipart/related; boundary=b", b"b"),
        ('Multipart/Related; type="application/dicom"; Boundary="b c"', b"b c"),
        ("application/dicom", None),
        ("multipart/related; type=application/dicom", None),
        ("", None),
    ],
)
def test_the_boundary_is_stated(kind, boundary):
    if boundary is None:
        with pytest.raises(PacsError):
            boundary_of(kind)
    else:
        assert boundary_of(kind) == boundary
