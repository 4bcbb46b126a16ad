"""Which detector looks at which stack. A series that none was fitted for is not scored."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medscan.archive import Series, Stack
from medscan.detector import Detector, Domain

SEQUENCES = ("FLAIR", "T1", "T2", "PD", "DWI", "ADC", "SWI", "DTI", "BOLD", "ASL", "TOF", "MRA")
SEQUENCE = rf"(?<![A-Z0-9])({'|'.join(SEQUENCES)})(?![0-9])"
"""Regular expression of a sequence that an upper-case description names."""
RADIOGRAPHS = {"DX": "CR", "RG": "CR"}
"""Modalities of a projection radiograph, however it was taken (DICOM PS3.3 C.7.3.1.1.1)."""
SYNONYMS = {"HEAD": "BRAIN", "SKULL": "BRAIN", "THORAX": "CHEST", "LUNG": "CHEST"}


def route(
    series: Series, stack: Stack, detectors: Sequence[Detector], *, named: bool
) -> Detector | None:
    """The detector for a stack: of those that fit, the one fitted for the narrowest domain.

    Parameters
    ----------
    detectors : sequence of Detector
        In the user's order, which decides between equally narrow ones.
    named : bool
        The user named them. Then a stack that does not say what it is (a NIfTI file says neither
        modality nor body part) is taken to be what they were fitted for; what contradicts them is
        still out of scope.
    """
    fitting = [d for d in detectors if fits(d.domain, series, stack, named=named)]
    return max(fitting, key=lambda d: narrowness(d.domain), default=None)


def narrowness(domain: Domain) -> int:
    """Number of things that a domain restricts."""
    parts = (domain.modality, domain.body_part, domain.sequence, domain.plane)
    return sum(bool(part) for part in parts)


def fits(domain: Domain, series: Series, stack: Stack, *, named: bool) -> bool:
    """Whether a stack lies in a domain; an unknown fact counts as fitting only if `named`."""
    verdicts = (
        _same(_kind(domain.modality), _kind(series.modality)),
        _same(_part(domain.body_part), _part(series.body_part)),
        _has_sequence(domain.sequence, series.description),
        _same(domain.plane, stack.plane or ""),
    )
    return all(named if verdict is None else verdict for verdict in verdicts)


def _same(wanted: str, given: str) -> bool | None:
    if not wanted:
        return True
    return None if not given else wanted.casefold() == given.casefold()


def _kind(modality: str) -> str:
    return RADIOGRAPHS.get(modality.upper(), modality)


def _part(name: str) -> str:
    return SYNONYMS.get(name.upper(), name.upper())


def _has_sequence(wanted: str, description: str) -> bool | None:
    """None when the description names no sequence at all."""
    if not wanted:
        return True
    text = description.upper()
    if wanted.upper() in text:
        return True
    return False if re.search(SEQUENCE, text) else None
