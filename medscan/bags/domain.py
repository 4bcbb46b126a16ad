"""What labelled studies show, by their headers: one domain, and the stacks that are of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from medscan.archive import Stack
from medscan.bags.match import Bag, Place, restricted
from medscan.detector import Domain
from medscan.errors import UsageError
from medscan.routing import Answer, describe, judge, verdict
from medscan.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

OPTIONS: Mapping[str, str] = {
    "modality": "--modality",
    "body_part": "--body-part",
    "sequence": "--sequence",
    "plane": "--plane",
    "age": "--age",
}
"""Option that states each part of a domain."""
SHOWN = 4
"""Values that a refusal names at most."""


def settle(bags: Sequence[Bag], asked: Domain) -> tuple[Domain, list[Bag]]:
    """Complete a domain by what the headers of all stacks in it say, and keep these stacks.

    Parameters
    ----------
    bags : sequence of Bag
    asked : Domain
        What the user states; what is empty is read from the headers.

    Returns
    -------
    (Domain, list of Bag)
        Bags without a stack of the domain are left out. In each bag, stacks that do not say
        whether they are of it count only where no other does.

    Raises
    ------
    UsageError
        If headers say different things, or no stack is of the domain.
    """
    domain = asked
    for part in (field.name for field in fields(Domain)):
        bags = _of_domain(bags, domain)
        if not getattr(domain, part):
            domain = replace(domain, **{part: _only(part, bags)})
    return domain, _of_domain(bags, domain)


def _of_domain(bags: Sequence[Bag], domain: Domain) -> list[Bag]:
    def fitting(bag: Bag) -> Sequence[Place]:
        by_answer: dict[Answer, list[Place]] = {}
        for place in bag.places:
            by_answer.setdefault(_answer(domain, place.stack), []).append(place)
        return by_answer.get(Answer.FITS) or by_answer.get(Answer.SILENT) or ()

    found = restricted(bags, fitting)
    if bags and not found:
        raise UsageError(f"no labelled study has an image of {domain}: state another domain")
    return found


def _answer(domain: Domain, stack: Stack) -> Answer:
    return verdict(judge(domain, stack))


def _only(part: str, bags: Sequence[Bag]) -> str:
    """What all stacks that say it say of a part of the domain."""
    counts = Counter(
        value
        for bag in bags
        for value in {str(getattr(describe(place.stack), part)) for place in bag.places}
    )
    said = sorted((-count, value) for value, count in counts.items() if value)
    if len(said) < 2:
        return said[0][1] if said else ""
    shown = ", ".join(f"{printable(v, 40)} in {-n}" for n, v in said[:SHOWN])
    more = f" and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
    raise UsageError(
        f"the labelled studies are mixed: by {part.replace('_', ' ')}, {shown}{more}; say which to "
        f"fit on, such as {OPTIONS[part]} {_word(said[0][1])}"
    )


def _word(value: str) -> str:
    text = printable(value, 40)
    return f'"{text}"' if " " in text else text
