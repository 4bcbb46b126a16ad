import json

import pytest

from medscan.pacs.answer import read_answer, reason

XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">
<DicomAttribute tag="00081198" vr="SQ" keyword="FailedSOPSequence">
<Item number="1">
<DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2</Value></DicomAttribute>
<DicomAttribute tag="00081197" vr="US"><Value number="1">272</Value></DicomAttribute>
</Item></DicomAttribute>
<DicomAttribute tag="00081199" vr="SQ" keyword="ReferencedSOPSequence">
<Item number="1">
<DicomAttribute tag="00081155" vr="UI"><Value number="1">1.3</Value></DicomAttribute>
<DicomAttribute tag="00081196" vr="US"><Value number="1">45056</Value></DicomAttribute>
</Item></DicomAttribute>
</NativeDicomModel>"""


def test_json_and_xml_say_the_same():
    def item(uid, tag, code):
        return {"00081155": {"Value": [uid]}, tag: {"Value": [code]}}

    said = {
        "00081198": {"Value": [item("1.2", "00081197", 272)]},
        "00081199": {"Value": [item("1.3", "00081196", 45056)]},
    }
    answer = read_answer(XML)
    assert (answer.failed, answer.referenced) == ({"1.2": 0x0110}, {"1.3": 0xB000})
    assert read_answer(json.dumps(said).encode()) == answer
    assert read_answer(json.dumps([said]).encode()) == answer


@pytest.mark.parametrize(
    "content",
    [
        b"", b"<", b"{", b"null", b"[[]]", b"[" * 5000, b"<a/>", XML[:400],
        XML.replace(b"<Native", b"<!DOCTYPE a><Native"),
        b'{"00081199": {"Value": [1, {}]}}',
        b'{"00081199": {"Value": [{"00081155": {"Value": []}}]}}',
    ],
)  # fmt: skip
def test_what_says_nothing_is_empty(content):
    answer = read_answer(content)
    assert not answer.referenced
    assert not answer.failed


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ""),
        (0x0110, "processing failure (0x0110)"),
        (0xA7FF, "out of resources (0xA7FF)"),
        (0xC001, "not understood (0xC001)"),
        (0x1234, "status (0x1234)"),
    ],
)
def test_a_code_in_words(code, words):
    assert reason(code) == words
