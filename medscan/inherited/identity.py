"""Patient and study of exported DICOM objects, copied from their source and made valid.

An object that states another identity than its study is worse than one that states less: a value
that breaks the rules of its type is left out, never cut to fit.
"""

from __future__ import annotations

import io
import re
from contextlib import suppress
from copy import deepcopy

import pydicom
from pydicom.charset import python_encoding
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import validate_value

IDENTITY = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "TimezoneOffsetFromUTC",
)
"""Attributes that identify patient and study; those that DICOM requires are empty in stand-ins."""
UTF8 = "ISO_IR 192"
_NO_CHARACTER_SETS = {"ISO_IR 6", "ISO 2022 GBK", "ISO 2022 58"}
"""Names that pydicom knows but DICOM does not."""
_TEXT = r"[^\x00-\x1f\x7f\\]*"
_STRICTER = {
    "PatientSex": r"[MFO]",
    "PatientBirthDate": r"[0-9]{8}",
    "StudyDate": r"[0-9]{8}",
    "StudyTime": r"[0-9.]+",
    "TimezoneOffsetFromUTC": r"[+-][0-9]{4}",
}
"""What attributes may hold, where pydicom lets more pass: ranges, and any letter for a sex."""
_PUNCTUATION = {"DA": ".", "TM": ":"}
"""Between the parts of dates and times in the standard before DICOM (PS3.5 table 6.2-1)."""


def copy_identity(instance: Dataset, header: Dataset) -> None:
    """Copy the attributes of patient and study from the header of a source, as far as valid.

    The study's UID is copied even if it is not valid: without it the object belongs to no study.
    Texts are written in the source's character set, or in UTF-8 where that cannot hold them.
    """
    identity = Dataset()
    if "SpecificCharacterSet" in header:
        identity.SpecificCharacterSet = header.SpecificCharacterSet
    declared = _is_declared(header)
    for keyword in IDENTITY:
        text = _valid_text(header, keyword, declared)
        if text:
            setattr(identity, keyword, text)
    if not declared or not _survives_writing(deepcopy(identity)):
        identity.SpecificCharacterSet = UTF8
    if all(str(element.value).isascii() for element in identity):
        del identity.SpecificCharacterSet
    instance.pop("SpecificCharacterSet", None)
    instance.update(identity)
    instance.StudyInstanceUID = header.StudyInstanceUID


def _is_declared(header: Dataset) -> bool:
    """Whether a header names character sets that exist (PS3.3 C.12.1.1.2)."""
    names = header.get("SpecificCharacterSet") or ()
    names = [names] if isinstance(names, str) else list(names)
    known = python_encoding.keys() - _NO_CHARACTER_SETS
    return bool(names) and known.issuperset(names)


def _valid_text(header: Dataset, keyword: str, declared: bool) -> str:
    """Value of an attribute, empty if it is missing, more than one, or breaks its type's rules."""
    vr = dictionary_VR(tag_for_keyword(keyword) or 0)
    with suppress(ValueError, TypeError, LookupError, NotImplementedError):
        value = header.get(keyword)
        text = "" if value is None or isinstance(value, MultiValue) else str(value).strip()
        text = text.replace(_PUNCTUATION.get(vr, "\0"), "")
        validate_value(vr, text, RAISE)
        if re.fullmatch(_STRICTER.get(keyword, _TEXT), text):
            return text if declared else _from_utf8(text)
    return ""


def _from_utf8(text: str) -> str:
    """Text of an undeclared character set: UTF-8 if its bytes are, else Latin 1 as it was read."""
    with suppress(UnicodeError):
        return text.encode("latin-1").decode()
    return text


def _survives_writing(identity: Dataset) -> bool:
    """Whether the texts can be written in their character set; it changes the names."""
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, identity, implicit_vr=False, little_endian=True)
    written = pydicom.dcmread(io.BytesIO(stream.getvalue()), force=True)
    return all(str(written.get(e.keyword)) == str(e.value) for e in identity)
