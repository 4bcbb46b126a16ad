"""Text from files made harmless to show: printable everywhere, inert in spreadsheets."""

from __future__ import annotations

import re

_RUN = re.compile(r"(^|;)(?=[ '\"]*(?:[=+\-@\uff1d\uff0b\uff0d\uff20]|\\[tr]))")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def printable(text: str, limit: int | None = None) -> str:
    """Text without characters that act instead of being seen, cut to `limit` characters.

    Control characters, bidirectional overrides, lone surrogates and invisible spaces become
    backslash escapes.

    Parameters
    ----------
    text : str
    limit : int, optional
        A longer text is cut in the middle, where names differ least.
    """
    if limit and len(text) > limit:
        head = limit * 2 // 3
        text = f"{text[:head]} … {text[len(text) - (limit - head - 3) :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cell(text: str) -> str:
    """Text for a cell of a CSV file.

    What a spreadsheet would run as a formula gets a leading apostrophe, also behind a semicolon,
    at which some locales split cells. Numbers are left alone.
    """
    if _NUMBER.fullmatch(text):
        return text
    return _RUN.sub(r"\1'", printable(text))
