"""The command tree. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

from typing import Annotated

import typer

from medscan import __version__
from medscan.cli.demo import demo
from medscan.cli.doctor import doctor
from medscan.cli.evaluate import evaluate
from medscan.cli.export import export
from medscan.cli.fit import fit
from medscan.cli.ledger import ledger
from medscan.cli.locate import locate
from medscan.cli.plan import plan
from medscan.cli.report import report
from medscan.cli.scan import scan
from medscan.cli.verify import verify
from medscan.cli.weights import weights

app = typer.Typer(
    name="medscan",
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


@app.callback()
def medscan(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Scan imaging archives with few-shot CLIP anomaly models."""


app.command()(demo)
app.command()(fit)
app.command()(evaluate)
app.command()(scan)
app.command()(plan)
app.command()(report)
app.command()(export)
app.command()(verify)
app.command()(locate)
app.command()(doctor)
app.add_typer(ledger, name="ledger")
app.add_typer(weights, name="weights")
