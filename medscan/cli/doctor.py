"""`medscan doctor`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from medscan.cli.config import (
    VARIABLE,
    Setting,
    commands_of,
    config_path,
    default_path,
    options_of,
    read_settings,
    words_of,
)
from medscan.cli.options import ENVIRONMENT, OUTPUT, AsJson, option
from medscan.errors import MedscanError


def doctor(
    context: typer.Context,
    out: Annotated[
        Path | None,
        option(
            OUTPUT, "Results file that a scan would write.", show_default="as `medscan scan` has it"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check whether a scan can run here, on what, and which encodings it can decode."""
    try:
        from medscan.inspect import examine, health_lines
        from medscan.options import Outputs
        from medscan.text import printable
    except ImportError as error:  # a library is missing or damaged
        raise MedscanError(f"a scan cannot run: {error}") from error
    tree = context.find_root().command
    settings = list(_settings(tree))
    scan = _scan_params(tree)
    outputs = Outputs(out or scan["out"], ledger=scan["ledger"], key_file=scan["key_file"])
    health = examine(outputs, scan["detector"] or (), settings)
    text = "\n".join(printable(line) for line in health_lines(health))
    typer.echo(json.dumps(asdict(health), indent=2) if as_json else text)
    if health.problems:
        raise MedscanError(f"a scan cannot run: {'; '.join(health.problems)}")


def _scan_params(tree: Any) -> dict[str, Any]:
    """Return what a scan without options would take: from the environment, the file, or neither."""
    top = typer.Context(tree, info_name=tree.name)
    params: dict[str, Any] = tree.commands["scan"].make_context("scan", ["."], parent=top).params
    return params


def _settings(tree: Any) -> Iterator[dict[str, str]]:
    """Yield what is set, and where, in the order in which it is looked for."""
    variables = {name: os.environ[name] for name in ENVIRONMENT if os.environ.get(name)}
    for name, value in variables.items():
        yield {"name": name, "value": value, "origin": "the environment"}
    path = config_path()
    if path is None:
        where = (
            f"${VARIABLE} is empty" if VARIABLE in os.environ else f"there is no {default_path()}"
        )
        yield {"name": "defaults", "value": "none", "origin": where}
        return
    origins = {p.opts[0][2:]: f"${p.envvar}" for p in options_of(tree.commands["scan"]).values()
               if os.environ.get(p.envvar or "")}  # fmt: skip
    for setting in read_settings(path, tree):
        _check(path, setting, tree)
        beaten = origins.get(setting.option)
        origin = f"{path}, but {beaten} comes first" if beaten else str(path)
        yield {"name": setting.place, "value": json.dumps(setting.value), "origin": origin}


def _check(path: Path, setting: Setting, tree: Any) -> None:
    """Check the value of a setting as the commands that it is for do."""
    for name, command in commands_of(tree):
        param = options_of(command).get(setting.option)
        if param is not None and setting.command in ("", name):
            words_of(path, setting, param, typer.Context(command, info_name=name))
