"""Choose the detector for each stack; a series that no detector was fitted for is not scored."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medscan.archive import Series, Stack
from medscan.detector import Detector, Domain

SEQUENCES = ("FLAIR", "T1", "T2", "PD", "DWI", "ADC", "SWI", "DTI", "BOLD", "ASL", "TOF", "MRA")
SEQUENCE = rf"(?<![A-Z0-9])({'|'.join(SEQUENCES)})(?![0-9])"
"""Regular expression for the name of a sequence in an upper-case description."""
RADIOGRAPHS = {"DX": "CR", "RG": "CR"}
"""Modalities that are all projection radiographs (DICOM PS3.3 C.7.3.1.1.1)."""
SYNONYMS = {"HEAD": "BRAIN", "SKULL": "BRAIN", "THORAX": "CHEST", "LUNG": "CHEST"}


def route(
    series: Series, stack: Stack, detectors: Sequence[Detector], *, named: bool
) -> Detector | None:
    """Return the detector for a stack: the one with the narrowest domain that fits, or None.

    Parameters
    ----------
    series : Series
    stack : Stack
    detectors : sequence of Detector
        In the user's order, which decides between equally narrow ones.
    named : bool
        Whether the user named the detectors. If so, facts that a stack does not state (a NIfTI file
        states neither modality nor body part) count as fitting; facts that contradict a domain
        never do.
    """
    fitting = [d for d in detectors if fits(d.domain, series, stack, named=named)]
    return max(fitting, key=lambda d: narrowness(d.domain), default=None)


def narrowness(domain: Domain) -> int:
    """Count the facts that a domain restricts."""
    parts = (domain.modality, domain.body_part, domain.sequence, domain.plane)
    return sum(bool(part) for part in parts)


def fits(domain: Domain, series: Series, stack: Stack, *, named: bool) -> bool:
    """Whether a stack lies in a domain; an unknown fact counts as fitting only if `named`."""
    verdicts = (
        _matches(_modality_group(domain.modality), _modality_group(series.modality)),
        _matches(_body_region(domain.body_part), _body_region(series.body_part)),
        _has_sequence(domain.sequence, series.description),
        _matches(domain.plane, stack.plane or ""),
    )
    return all(named if verdict is None else verdict for verdict in verdicts)


def _matches(wanted: str, stated: str) -> bool | None:
    """Whether a stated fact is the wanted one; None if it is not stated."""
    if not wanted:
        return True
    return None if not stated else wanted.casefold() == stated.casefold()


def _modality_group(modality: str) -> str:
    return RADIOGRAPHS.get(modality.upper(), modality)


def _body_region(name: str) -> str:
    return SYNONYMS.get(name.upper(), name.upper())


def _has_sequence(wanted: str, description: str) -> bool | None:
    """Whether a description names the wanted sequence; None if it names no sequence at all."""
    if not wanted:
        return True
    text = description.upper()
    if wanted.upper() in text:
        return True
    return False if re.search(SEQUENCE, text) else None
