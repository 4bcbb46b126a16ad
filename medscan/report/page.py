"""HTML from templates: all values escaped, and a policy that allows only the report's own files.

The report is a folder of pages with their pictures, a style sheet and a script beside them, or one
page that holds everything. Both come from the same templates.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medscan.report.colours import COLOUR_MAPS, OPACITY, colour_table, opacity_table
from medscan.report.decisions import Verdict
from medscan.report.wording import (
    FLAGS,
    MEANINGS,
    PROVISIONAL,
    TEXT_LIMIT,
    day,
    flag_of,
    number,
)
from medscan.text import printable

STYLE, SCRIPT = "style.css", "script.js"
SCRIPT_PARTS = ("common", "verdicts", "copying", "index", "maps", "pixels", "view", "windows",
                "prior", "planes", "viewer", "study")  # fmt: skip
"""Files that the script is joined from, in their order: each uses those before it."""
UNJUDGED = "none"
"""Value of the verdict filter for studies without a verdict."""
_COMMON = "default-src 'none'; base-uri 'none'; form-action 'none'"


def render(template: str, context: Mapping[str, Any], *, root: str | None) -> str:
    """Render a page.

    Parameters
    ----------
    template : str
        Name of the template.
    context : mapping
        Its variables.
    root : str or None
        Address of the report's folder relative to the page, "" or "../"; None for a page that
        holds everything.
    """
    head = {
        "root": root,
        "policy": _policy(root),
        "colour_maps": list(COLOUR_MAPS),
        "flags": FLAGS,
        "verdicts": [*Verdict, UNJUDGED],
        "meanings": MEANINGS,
        "provisional": PROVISIONAL,
    }
    if root is None:
        head |= {"css": Markup(asset(STYLE)), "js": Markup(asset(SCRIPT))}  # noqa: S704
    return _environment().get_template(template).render(context, **head)


@cache
def asset(name: str) -> str:
    """The text of the style sheet or the script."""
    templates = Path(__file__).with_name("templates")
    if name == SCRIPT:
        parts = (templates / "script" / f"{part}.js" for part in SCRIPT_PARTS)
        # A classic script in a scope of its own, because modules do not load from file://.
        text = "\n".join(part.read_text("utf-8") for part in parts)
        text = f"const colours = {json.dumps(_colours())};\n{text}"
        return f'(() => {{\n"use strict";\n{text}}})();\n'
    return templates.joinpath(name).read_text("utf-8")


def _policy(root: str | None) -> Markup:
    """Content security policy: only the report's own files, or the page's own text by hash."""
    if root is not None:
        own = "img-src 'self' data:; style-src 'self'; script-src 'self'"
        return Markup(f"{_COMMON}; {own}")  # noqa: S704
    style, script = (_digest(asset(name)) for name in (STYLE, SCRIPT))
    return Markup(f"{_COMMON}; img-src data:; style-src '{style}'; script-src '{script}'")  # noqa: S704


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _colours() -> dict[str, Any]:
    """The colour scales for the script: 256 colours as hexadecimal RGB, and their opacities."""
    tables = {name: (colour_table(name) * 255).round().astype("u1") for name in COLOUR_MAPS}
    return {
        "maps": {name: table.tobytes().hex() for name, table in tables.items()},
        "alpha": opacity_table().round(3).tolist(),
        "opacity": OPACITY,
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medscan.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_safe,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "day": day, "flag": flag_of}
    return environment


def _safe(value: object) -> object:
    """Make a value printable on its way into a page, unless this package made it as markup."""
    return value if isinstance(value, Markup) else printable(str(value), TEXT_LIMIT)
