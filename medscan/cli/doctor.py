"""`medscan doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from medscan.cli.options import OUTPUT, AsJson, option
from medscan.errors import MedscanError


def doctor(
    out: Annotated[Path, option(OUTPUT, "Results file that a scan would write.")] = Path(
        "results.h5"
    ),
    as_json: AsJson = False,
) -> None:
    """Check whether a scan can run here, on what, and which encodings it can decode."""
    try:
        from medscan.inspect import examine, health_lines
        from medscan.text import printable
    except ImportError as error:  # a library is missing or damaged
        raise MedscanError(f"a scan cannot run: {error}") from error
    health = examine(out)
    text = "\n".join(printable(line) for line in health_lines(health))
    typer.echo(json.dumps(asdict(health), indent=2) if as_json else text)
    if health.problems:
        raise MedscanError(f"a scan cannot run: {'; '.join(health.problems)}")
