"""Make text from files safe to show: printable everywhere, never a formula in a spreadsheet."""

from __future__ import annotations

import re

_FORMULA = re.compile(r"(^|;)(?=[ '\"]*(?:[=+\-@\uff1d\uff0b\uff0d\uff20]|\\[tr]))")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def printable(text: str, limit: int | None = None) -> str:
    """Escape characters that act instead of being seen, and shorten the text.

    Control characters, bidirectional overrides, lone surrogates and invisible spaces become
    backslash escapes.

    Parameters
    ----------
    text : str
    limit : int, optional
        Largest number of characters before escaping; a longer text is cut in the middle, where
        names differ least.
    """
    if limit and len(text) > limit:
        head = limit * 2 // 3
        text = f"{text[:head]} … {text[len(text) - (limit - head - 3) :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cell(text: str) -> str:
    """Make text safe in a cell of a CSV file.

    Text that a spreadsheet would run as a formula gets a leading apostrophe, also after a
    semicolon, where some locales split cells. Numbers are left unchanged.
    """
    if _NUMBER.fullmatch(text):
        return text
    return _FORMULA.sub(r"\1'", printable(text))


def is_uid(text: str) -> bool:
    """Whether text is a unique identifier, if not of a valid root (DICOM PS3.5 9.1)."""
    parts = text.split(".") if len(text) <= 64 else []
    return len(parts) > 1 and all(part.isascii() and part.isdecimal() for part in parts)
