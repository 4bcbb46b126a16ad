"""Find the words of the rules in descriptions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from medscan.routing.regions import REGIONS
from medscan.routing.rules import KINDS, MODALITY_WORDS, VIEWS

_PLANES = ("AX", "SAG", "COR", "TRA", "2D", "3D")
"""Prefixes that a word may have without a space."""
_START = "|".join(["(?<![A-Z0-9])", *(f"(?<={plane})" for plane in _PLANES)])
OPEN = "..."
"""Stands for letters and digits at an end of a word."""


def expression(word: str) -> str:
    """Regular expression of a word of the rules, for text in capitals."""
    middle = word.removeprefix(OPEN).removesuffix(OPEN)
    start = "" if word.startswith(OPEN) else f"(?:{_START})"
    end = r"(?![A-Z0-9])" if middle[-1].isalnum() else ""
    if word.endswith(OPEN):
        end = "(?![0-9])" if middle[-1].isdigit() else ""
    return start + "[ _-]?".join(map(re.escape, middle.split(" "))) + end


def either(words: Iterable[str]) -> str:
    """Regular expression of any of the words, of which a longer one is found first."""
    longest_first = sorted(words, key=lambda word: -len(word.replace(OPEN, "")))
    return "|".join(map(expression, longest_first))


ALL = sorted(
    {w for kinds in KINDS.values() for kind in kinds for w in kind.words}
    | {w for region in REGIONS for w in region.words}
    | {w for words in (*MODALITY_WORDS.values(), *VIEWS.values()) for w in words}
)
PATTERN = f"(?=({either(ALL)}))"
"""Finds all words of the rules in a text in capitals, also where they overlap, as its group 1."""


@lru_cache(maxsize=1 << 10)
def _compiled(words: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile(either(words)) if words else None


def found(words: tuple[str, ...], text: str) -> str:
    """Word that a text in capitals has of these, as it is written there; empty without one."""
    pattern = _compiled(words)
    match = pattern.search(text) if pattern else None
    return match[0] if match else ""
