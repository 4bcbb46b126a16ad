"""`medscan monitor`."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from medscan.cli.options import INPUT, OUTPUT, AsJson, option
from medscan.errors import UsageError
from medscan.text import printable


def _day(text: Any) -> str:
    try:
        return datetime.date.fromisoformat(str(text)).isoformat()
    except ValueError as error:
        shown = printable(str(text), 40)
        raise UsageError(f"--since {shown}: a day, such as 2026-11-28") from error


def monitor(
    history: Annotated[
        Path, typer.Argument(help="History of the site, as `medscan scan --history` writes it.")
    ],
    decisions: Annotated[
        Path | None,
        option(INPUT, "CSV of verdicts to keep, as the report saves it, for PPV over time."),
    ] = None,
    since: Annotated[
        Any,
        option(
            INPUT,
            "First night that counts, such as the one after a cause was dealt with.",
            metavar="DAY",
            parser=_day,
            show_default="the first one",
        ),
    ] = None,
    false_alarms: Annotated[
        float,
        option(INPUT, "Most probable that a detector gives a false alarm within a year."),
    ] = 0.05,
    out: Annotated[
        Path | None,
        option(
            OUTPUT, "Page to write.", show_default="name of the history, ending in .monitor.html"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether detectors still do what they did, by the history of the site."""
    from medscan.monitoring import History, plain, watch, write_page
    from medscan.outputs import keep_apart

    if not 0 < false_alarms < 1:
        raise UsageError(f"--false-alarms {false_alarms:g}: a number between 0 and 1")
    page = out or history.with_name(f"{history.name}.monitor.html")
    keep_apart({"--out": page}, [history, decisions])
    with History(history, existing=True) as opened:
        if decisions is not None:
            opened.judge(decisions)
        watched = watch(opened.entries(since or ""), opened.verdicts(), false_alarms)
    write_page(watched, page)
    if as_json:
        typer.echo(json.dumps(plain(watched)))
    else:
        nights = f"{len(watched.nights)} nights, {len(watched.lines)} strata"
        alarms = [f"alarm: {alarm.sentence}" for alarm in watched.alarms] or ["no alarm"]
        typer.echo("\n".join([*alarms, f"{nights}: open {page}"]))
    if watched.alarms:
        raise typer.Exit(4)
