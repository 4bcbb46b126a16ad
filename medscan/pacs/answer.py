"""What a PACS says of objects that it was sent (DICOM PS3.18 10.5.3, PS3.4 B.2.3).

It is read whatever the status of the answer: with one bad object among good ones that is 400, and
the good ones are stored; with a full disk it may be 200, and nothing is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as Tree

REFERENCED, FAILED, INSTANCE = "00081199", "00081198", "00081155"
"""Tags of Referenced SOP Sequence, Failed SOP Sequence and Referenced SOP Instance UID."""
FAILURE, WARNING = "00081197", "00081196"
"""Tags of Failure Reason and Warning Reason."""
REASONS = {
    0x0000: "",
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such object instance",
    0x0117: "invalid object instance",
    0x0118: "no such SOP class",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0xA801: "the AE title of --aet is no destination that it knows",
    0xB000: "stored, but elements were changed",
    0xB006: "stored, but elements were left out",
    0xB007: "stored, but it does not fit its SOP class",
    0xC122: "transfer syntax not supported",
}
_RANGES = {0xA7: "out of resources", 0xA9: "does not fit its SOP class", 0xC0: "not understood"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a PACS says of the objects of one request.

    Parameters
    ----------
    referenced : dict
        Codes of warnings, 0 for none, by the UIDs of objects that it says are stored.
    failed : dict
        Codes of failures by the UIDs of the others that it names.
    """

    referenced: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)


def reason(code: int) -> str:
    """Return a code in words; empty for success."""
    if code in REASONS:
        words = REASONS[code]
        return f"{words} (0x{code:04X})" if words else ""
    return f"{_RANGES.get(code >> 8, 'status')} (0x{code:04X})"


def read_answer(content: bytes) -> Answer:
    """Read an answer in JSON or XML, whatever it calls itself; empty if it is neither."""
    found = _from_json(content) if content.lstrip()[:1] in (b"{", b"[") else _from_xml(content)
    answer = Answer()
    for sequence, uid, code in found:
        if sequence == REFERENCED:
            answer.referenced[uid] = code
        else:
            answer.failed[uid] = code
    return answer


def _from_json(content: bytes) -> Iterator[tuple[str, str, int]]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return
    for ds in data if isinstance(data, list) else [data]:
        for sequence, code in ((REFERENCED, WARNING), (FAILED, FAILURE)):
            for item in _values(ds, sequence):
                for uid in _values(item, INSTANCE)[:1]:
                    yield sequence, str(uid), _number(_values(item, code))


def _values(ds: Any, tag: str) -> list[Any]:
    """Values of an element in the JSON of DICOM; none where it has another form."""
    element = ds.get(tag) if isinstance(ds, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _from_xml(content: bytes) -> Iterator[tuple[str, str, int]]:
    if b"<!" in content:  # entities, which such an answer never has, may grow without end
        return
    try:
        root = Tree.fromstring(content)  # noqa: S314 - see above
    except (Tree.ParseError, ValueError, LookupError):
        return
    names = {_local(e.tag) for e in root.iter()}
    if "NativeDicomModel" not in names:
        return
    for element in root.iter():
        sequence = element.get("tag")
        if sequence in (REFERENCED, FAILED):
            code = WARNING if sequence == REFERENCED else FAILURE
            for item in (e for e in element if _local(e.tag) == "Item"):
                stated = {e.get("tag"): [v.text for v in e] for e in item}
                for uid in stated.get(INSTANCE, [])[:1]:
                    yield sequence, str(uid), _number(stated.get(code, []))


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _number(values: Iterable[Any]) -> int:
    try:
        return int(next(iter(values), 0)) & 0xFFFF
    except (TypeError, ValueError, OverflowError):
        return 0
