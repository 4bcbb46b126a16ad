"""Links from studies to another program, such as the viewer of a PACS."""

from __future__ import annotations

import re
from urllib.parse import quote

from medscan.errors import UsageError
from medscan.text import printable

UID_PLACE = "{StudyInstanceUID}"
"""Where a template has the UID of a study."""
LONGEST = 200
"""Most characters of a template: a link is shown whole, or not at all."""
_HOST = r"https?://[A-Za-z0-9.:\[\]-]+"
_REST = r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*"  # RFC 3986
_TEMPLATE = re.compile(rf"{_HOST}[/?#]{_REST}{re.escape(UID_PLACE)}{_REST}", re.IGNORECASE)


def is_template(text: str) -> bool:
    """Whether a text is the address of a web page that has `UID_PLACE` once, after the host."""
    return len(text) <= LONGEST and _TEMPLATE.fullmatch(text) is not None


def parse_template(text: str) -> str:
    """Parse `--link-template`: a template, or an empty text for no links.

    Raises
    ------
    UsageError
        If it is neither.
    """
    if text and not is_template(text):
        raise UsageError(
            f"--link-template {printable(text, 80)}: an address of at most {LONGEST} characters "
            f"that begins with http:// or https:// and has {UID_PLACE} once, after the host"
        )
    return text


def link_to(uid: str, template: str) -> str:
    """Return the address of a study; empty without a template, or if that is not valid.

    Templates also come from results files, which may hold anything.
    """
    return template.replace(UID_PLACE, quote(uid, safe="")) if is_template(template) else ""
