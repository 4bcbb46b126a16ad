"""The command line of a scan as its results record it: whole, but without folders or archives."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import typer

WORDS = "medscan.words"
"""Where a command keeps the words that it was given, in `Context.meta`."""
ARCHIVE = "ARCHIVE"
"""Stands for an archive, whose path may name a patient or a site."""


def recorded_command(context: typer.Context) -> str:
    """Return the command line with every option that was given, in the order of `--help`.

    An archive is written as a word that only counts it, and any other path without its folders.
    Run again in the folder of its files, with the archives in place, it is the command that ran.
    """
    given, _, _ = context.command.make_parser(context).parse_args(list(context.meta[WORDS]))
    words = context.command_path.split()
    for param in context.command.params:
        if param.param_type_name == "argument":
            words += [ARCHIVE] * len(context.params[str(param.name)])
        elif param.name in given:
            words += _option(param, given[param.name], context.params[str(param.name)])
    return shlex.join(words)


def _option(param: Any, given: Any, parsed: Any) -> Iterator[str]:
    """Yield an option and its value, as it was given, once for each time that it was given."""
    is_path = isinstance(parsed[0] if isinstance(parsed, list) else parsed, PurePath)
    for one in given if isinstance(given, list) else [given]:
        if isinstance(one, bool):
            yield (param.opts if one else param.secondary_opts)[0]
        else:
            yield param.opts[0]
            yield PurePath(one).name if is_path else str(one)
