"""The command tree. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import Annotated, Any

import typer
from typer.completion import get_completion_inspect_parameters, shell_complete

from medscan import __version__
from medscan.cli.accept import accept
from medscan.cli.demo import demo
from medscan.cli.doctor import doctor
from medscan.cli.evaluate import evaluate
from medscan.cli.export import export
from medscan.cli.fetch import fetch
from medscan.cli.fit import fit
from medscan.cli.help import Command, Group
from medscan.cli.ledger import ledger
from medscan.cli.locate import locate
from medscan.cli.monitor import monitor
from medscan.cli.optimise import optimise
from medscan.cli.plan import plan
from medscan.cli.refit import refit
from medscan.cli.report import report
from medscan.cli.scan import scan
from medscan.cli.send import send
from medscan.cli.verify import verify
from medscan.cli.weights import weights

app = typer.Typer(
    name="medscan",
    cls=Group,
    help="Scan imaging archives with few-shot CLIP anomaly models. Research software, not a "
    "medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"medscan {__version__}")
        raise typer.Exit


class Shell(StrEnum):
    """A shell that can complete commands, options and their values."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def _completion(shell: Shell | None) -> None:
    if shell:
        shell_complete(tree(), {}, "medscan", "_MEDSCAN_COMPLETE", f"source_{shell}")
        raise typer.Exit


@app.callback()
def medscan(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    show_completion: Annotated[
        Shell | None,
        typer.Option(callback=_completion, is_eager=True, help="Print a script for completion."),
    ] = None,
) -> None:
    """Scan imaging archives with few-shot CLIP anomaly models."""


COMMANDS = (
    *(demo, fit, refit, evaluate, optimise, accept, fetch, scan, plan, report, monitor),
    *(export, send, verify, locate, doctor),
)
for command in COMMANDS:
    app.command(cls=Command)(command)
app.add_typer(ledger, name="ledger")
app.add_typer(weights, name="weights")
get_completion_inspect_parameters()  # its side effect: Typer knows the shells


@cache
def tree() -> Any:
    """Return the commands as one, made from their signatures once: that takes 40 milliseconds."""
    return typer.main.get_command(app)
