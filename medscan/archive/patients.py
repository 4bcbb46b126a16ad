"""Whether a PatientID tells a patient from others, and what tells the patient where it does not."""

from __future__ import annotations

import re

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
