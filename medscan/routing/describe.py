"""What an image says that it is, as the domain of a detector that would be for it."""

from __future__ import annotations

from functools import lru_cache

from medscan.archive import Facts, Stack
from medscan.detector import Domain
from medscan.routing.judge import Answer, implied, judge_facts, kinds_said, modalities_said, verdict
from medscan.routing.regions import REGIONS
from medscan.routing.rules import KINDS


def describe(stack: Stack) -> Domain:
    """The narrowest domain that a stack fits; what the stack does not say is empty."""
    return _describe(tuple(stack.facts.items()), stack.plane or "")


@lru_cache(maxsize=1 << 12)
def _describe(pairs: tuple[tuple[str, str], ...], plane: str) -> Domain:
    def fits(domain: Domain) -> bool:
        return verdict(judge_facts(domain, pairs, plane)) is Answer.FITS

    facts = dict(pairs)
    modality = next(iter(modalities_said(facts)), "")
    parts = [part for part in _body_parts(facts) if fits(Domain(modality, part))]
    larger = {name for region in REGIONS if region.name in parts for name in region.within}
    narrow = next((part for part in parts if part not in larger), "")
    kinds = _kinds(modality, facts)
    known = kinds if kinds and fits(Domain(modality, sequence=kinds)) else ""
    return Domain(modality, narrow, known, plane)


def _body_parts(facts: Facts) -> list[str]:
    """Every part that an image may show: those of the rules, and what its header calls its own."""
    stated = facts.get("BodyPartExamined", "")
    return [*(region.name for region in REGIONS), *([stated] if stated else [])]


def _kinds(modality: str, facts: Facts) -> str:
    """Kinds of image that a header names, but for those that others imply."""
    table = KINDS.get(modality, KINDS[""])
    said = kinds_said(table, facts)
    others = {name for kind in table if kind.name in said for name in implied(table, kind)}
    return " ".join(name for name in said if name not in others)
