"""Whether a PatientID tells a patient from others, and what else tells them apart."""

from __future__ import annotations

import re
from datetime import datetime

from pydicom.dataset import Dataset

from medscan.archive.values import text

KEYWORDS = ("PatientBirthDate", "PatientSex", "IssuerOfPatientID")
"""Elements that are read here."""
_NOBODY = frozenset(
    [
        "ANON",
        "ANONYM",
        "ANONYMIZED",
        "ANONYMISED",
        "ANONYMOUS",
        "ANONYMOUSPATIENT",
        "BLANK",
        "DEFAULT",
        "DEIDENTIFIED",
        "DUMMY",
        "EMPTY",
        "HIDDEN",
        "ID",
        "MRN",
        "NA",
        "NAN",
        "NIL",
        "NOID",
        "NONAME",
        "NONE",
        "NOPATIENTID",
        "NULL",
        "PATIENT",
        "PATIENTID",
        "REDACTED",
        "REMOVED",
        "TBD",
        "TEMP",
        "TEST",
        "TESTPATIENT",
        "UNDEFINED",
        "UNIDENTIFIED",
        "UNKNOWN",
        "UNKNOWNPATIENT",
        "UNNAMED",
        "UNSPECIFIED",
    ]
)
"""PatientIDs that archives give to many patients, in capitals and without spaces or signs."""
_FILLED = re.compile(r"0*|X*")
_SIGNS = re.compile(r"[\W_]+")
_SEXES = ("M", "F")
_NO_BIRTH = "19000101"
"""What is written where no date of birth is known."""


def names_nobody(patient_id: str) -> bool:
    """Whether a PatientID is empty, or one that many patients share, such as ANONYMOUS or 0000."""
    plain = _SIGNS.sub("", patient_id).upper()
    return plain in _NOBODY or _FILLED.fullmatch(plain) is not None


def identity_of(patient_id: str, study: str) -> str:
    """What tells a patient from others, not to be shown: the PatientID, or the study without one.

    Parameters
    ----------
    patient_id : str
        PatientID as a header states it.
    study : str
        UID or key of the study.
    """
    return f"id:study {study}" if names_nobody(patient_id) else f"id:{patient_id.strip()}"


def person_of(ds: Dataset) -> str:
    """Date of birth, sex and issuer of the PatientID as "YYYYMMDD/F/SITE".

    What is not known is left out, "" if nothing is. Two issuers may give one PatientID to two
    people (PS3.3 C.2.2).
    """
    born, sex, issuer = (text(ds, keyword).strip().upper() for keyword in KEYWORDS)
    told = (born if _is_birth(born) else "", sex if sex in _SEXES else "", issuer.replace("/", " "))
    return "/".join(told) if any(told) else ""


def contradict(one: str, other: str) -> bool:
    """Whether two persons, see `person_of`, or their pseudonyms, cannot be the same."""
    parts = zip(one.split("/"), other.split("/"), strict=False)
    return any(a and b and a != b for a, b in parts)


def _is_birth(born: str) -> bool:
    try:
        return bool(datetime.strptime(born, "%Y%m%d")) and born != _NO_BIRTH  # noqa: DTZ007
    except ValueError:
        return False
