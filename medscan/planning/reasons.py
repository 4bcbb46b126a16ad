"""Say why no detector scores a stack: what each asks for, and what the stack's header states."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from medscan.archive import Series, Stack
from medscan.detector import Detector, Domain
from medscan.planning.routing import SEQUENCE, fits


def why_not(
    series: Series, stack: Stack, detectors: Sequence[Detector], *, named: bool
) -> list[str]:
    """Return a sentence for each detector that was tried on a stack and does not score it.

    Parameters
    ----------
    series : Series
    stack : Stack
    detectors : sequence of Detector
    named : bool
        As for `medscan.planning.routing.route`.
    """
    return [
        f"{detector.name} asks for {detector.domain}: "
        + ", ".join(_missing(detector.domain, series, stack, named=named))
        for detector in detectors
    ]


def _missing(domain: Domain, series: Series, stack: Stack, *, named: bool) -> Iterator[str]:
    """Yield the facts of a stack that a domain lacks, as the header states them."""
    sequences = dict.fromkeys(m[0] for m in re.finditer(SEQUENCE, series.description.upper()))
    facts = {
        "Modality": (Domain(modality=domain.modality), series.modality),
        "BodyPartExamined": (Domain(body_part=domain.body_part), series.body_part),
        "the sequence": (Domain(sequence=domain.sequence), " ".join(sequences)),
        "the plane": (Domain(plane=domain.plane), str(stack.plane or "")),
    }
    for name, (wanted, stated) in facts.items():
        if not fits(wanted, series, stack, named=named):
            yield f"{name} is {stated or 'not stated'}"
