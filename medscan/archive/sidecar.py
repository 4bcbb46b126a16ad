"""Read what files say of the images beside them: JSON, a BIDS table of people, a stated domain."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from typing import Any, BinaryIO

from medscan.archive.facts import FORMS, NO_AGENT, Facts, Form, age_group, number_text
from medscan.archive.header import Record, Sidecar, Stated
from medscan.archive.types import ArchiveFile, Outcome, Reason
from medscan.choices import Age, Plane
from medscan.errors import CorruptError
from medscan.text import printable

DATA_SET = "dataset_description.json"
"""File in the folder of every BIDS data set."""
PEOPLE = "participants.tsv"
"""Table of its subjects."""
DOMAIN = "medscan-domain.toml"
"""File that states what the images in its folder and below show."""
DOMAIN_KEYS = {
    "modality": "Modality",
    "body_part": "BodyPartExamined",
    "sequence": "SeriesDescription",
    "view": "ViewPosition",
    "age": "PatientAge",
}
"""Keywords of facts by their names in a stated domain, which also has `plane`."""
_MOST_BYTES = {".json": 1 << 20, ".tsv": 4 << 20, ".toml": 1 << 16}
_LONGEST = 256
"""Characters of a text."""
_UNREADABLE = (ValueError, RecursionError)
"""What the parsers of JSON and TOML raise; UnicodeDecodeError is a ValueError."""
_SIDECAR = "it describes the images beside it"
_LONGEST_S = {"EchoTime": 1.0, "InversionTime": 20.0, "RepetitionTime": 60.0}
"""Times that BIDS and dcm2niix write in seconds, and what is too long to be one."""
_OTHERS = {
    "BodyPartExamined": ("BodyPart",),
    "ContrastBolusAgent": ("ContrastBolusIngredient",),
    "ManufacturerModelName": ("ManufacturersModelName",),
    "SequenceName": ("PulseSequenceName", "PulseSequenceType"),
}
"""Names that BIDS or dcm2niix have for an element, after its own."""
_DIVIDED = ("ScanningSequence", "SequenceVariant")
"""Elements whose values dcm2niix divides by underscores."""
_MODALITIES = {"MRI": "MR", "PET": "PT"}
_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}
_AGE = re.compile(r"\d{1,3}(\.\d{1,4})?", re.ASCII)


def is_sidecar(path: str) -> bool:
    """Whether the name of a file is one that facts about images are looked for in."""
    return path.endswith(".json") or path.rpartition("/")[2] in (PEOPLE, DOMAIN)


def read_sidecar(file: ArchiveFile, stream: BinaryIO) -> Record:
    """Read a file that may describe images; another file of such a name is just no image.

    Raises
    ------
    CorruptError
        If a stated domain cannot be read: it was written for medscan alone.
    """
    name = file.path.rpartition("/")[2]
    stream.seek(0)
    most = _MOST_BYTES[name[name.rindex(".") :]]
    data = stream.read(most + 1)
    if name == DOMAIN:
        return _read_domain(file, data, most)
    try:
        if len(data) > most:
            raise ValueError(f"more than {most} bytes")
        text = data.decode("utf-8-sig")
        return _read_people(file, text) if name == PEOPLE else _read_json(file, name, text)
    except _UNREADABLE:
        return Outcome(file, Reason.NOT_AN_IMAGE, f"{name[name.rindex('.') + 1 :]}, not readable")


def _read_json(file: ArchiveFile, name: str, text: str) -> Record:
    said = json.loads(text, parse_constant=lambda _: None)
    if not isinstance(said, dict):
        return Outcome(file, Reason.NOT_AN_IMAGE, "JSON")
    if name == DATA_SET:
        # Before BIDS 1.4 derivatives had this key instead.
        derived = said.get("DatasetType") == "derivative" or "PipelineDescription" in said
        return Sidecar(file, "it describes a BIDS data set", derived=derived)
    facts = _facts(said)
    if not facts:
        return Outcome(file, Reason.NOT_AN_IMAGE, "JSON")
    return Sidecar(file, _SIDECAR, Stated(facts))


def _facts(said: Mapping[str, Any]) -> Facts:
    """Facts of a JSON file of BIDS or dcm2niix, in the order of `FORMS`."""
    found = {}
    for keyword in FORMS:
        for name in (keyword, *_OTHERS.get(keyword, ())):
            if value := _value(keyword, said.get(name)):
                found[keyword] = value
                break
    return found


def _value(keyword: str, said: Any) -> str:
    if FORMS[keyword] is Form.NUMBER:
        return _number(keyword, said)
    parts = said if isinstance(said, list) else [said]
    texts = [part.strip() for part in parts if isinstance(part, str)]
    if len(texts) != len(parts):
        return ""
    text = "\\".join(texts)[:_LONGEST]
    if FORMS[keyword] is Form.AGE:
        return text.upper() if age_group(text) else ""
    if keyword == "ContrastBolusAgent" and text.upper() in NO_AGENT:
        return ""
    if keyword in _DIVIDED:
        text = text.replace("_", "\\")
    if keyword == "Modality":
        return _MODALITIES.get(text.upper(), text.upper())
    return text.upper() if FORMS[keyword] is Form.TERMS and keyword != "BodyPartExamined" else text


def _number(keyword: str, said: Any) -> str:
    """A number as a fact, times in milliseconds; empty for what is none or cannot be true."""
    if isinstance(said, bool) or not isinstance(said, int | float) or not math.isfinite(said):
        return ""
    most = _LONGEST_S.get(keyword)
    if most is None:
        return number_text(said)
    return number_text(said * 1000) if 0 <= said <= most else ""


# --- people ------------------------------------------------------------------------------------


def _read_people(file: ArchiveFile, text: str) -> Record:
    header, *rows = (line.split("\t") for line in text.splitlines())
    columns = {name.strip(): number for number, name in enumerate(header)}
    if "participant_id" not in columns:
        return Outcome(file, Reason.NOT_AN_IMAGE, "a table")
    people = {}
    for row in rows:
        cells = {name: row[n].strip() for name, n in columns.items() if n < len(row)}
        facts = {
            "PatientAge": _age(cells.get("age", "")),
            "PatientSex": _SEXES.get(cells.get("sex", "").lower(), ""),
        }
        stated = {keyword: value for keyword, value in facts.items() if value}
        if stated:
            people[cells.get("participant_id", "")[:_LONGEST]] = stated
    return Sidecar(file, "it describes the people in a BIDS data set", people=people)


def _age(years: str) -> str:
    """Age String of DICOM (PS3.5 6.2) from years; empty for what is none."""
    return f"{int(float(years)):03d}Y" if _AGE.fullmatch(years) else ""


# --- a stated domain ---------------------------------------------------------------------------


def stated_domain(said: Mapping[str, Any]) -> tuple[Stated, list[str]]:
    """Read a domain that somebody states of images whose files do not.

    Parameters
    ----------
    said : dict
        Values by the names of `DOMAIN_KEYS`, and `plane`.

    Returns
    -------
    (Stated, list of str)
        And what of it is not understood, in words.
    """
    facts, plane, wrong = {}, "", []
    for key, value in said.items():
        text = value.strip() if isinstance(value, str) else ""
        if key == "plane" and text.lower() in list(Plane):
            plane = text.lower()
        elif key in DOMAIN_KEYS and text and len(text) <= _LONGEST and _is_meant(key, text):
            facts[DOMAIN_KEYS[key]] = text.upper()
        else:
            wrong.append(_misunderstood(key, value))
    return Stated({k: facts[k] for k in FORMS if k in facts}, plane), wrong


def _is_meant(key: str, text: str) -> bool:
    return key != "age" or text.lower() in list(Age)


def _misunderstood(key: str, value: Any) -> str:
    if key == "age":
        return f"age {printable(str(value), 80)}: adults or children"
    if key == "plane":
        return f"plane {printable(str(value), 80)}: axial, coronal or sagittal"
    if key in DOMAIN_KEYS:
        return f"{key}: a text"
    return f"{printable(key, 80)}: none of {', '.join((*DOMAIN_KEYS, 'plane'))}"


def _read_domain(file: ArchiveFile, data: bytes, most: int) -> Sidecar:
    if len(data) > most:
        raise CorruptError(f"{DOMAIN} is larger than {most} bytes")
    try:
        said = tomllib.loads(data.decode("utf-8-sig"))
    except _UNREADABLE as error:
        why = printable(str(error), 80) or type(error).__name__
        raise CorruptError(f"{DOMAIN} cannot be read: {why}") from error
    table = said.get("domain")
    if not isinstance(table, dict):
        raise CorruptError(f"{DOMAIN} has no table [domain]")
    stated, wrong = stated_domain(table)
    wrong += [f"{printable(key, 80)}: only [domain] is read" for key in said if key != "domain"]
    notes = f"; not understood: {'; '.join(wrong)}" if wrong else ""
    return Sidecar(file, f"it states the domain of images beside it{notes}", stated)
