"""`medscan ledger`: what scans have recorded, and the studies in quarantine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medscan.cli.help import Command, Group
from medscan.cli.options import AsJson
from medscan.errors import UsageError

if TYPE_CHECKING:
    from medscan.planning import DecoderTrouble, Ledger

ledger = typer.Typer(
    cls=Group,
    help="Show what scans have recorded; release studies from quarantine.",
    no_args_is_help=True,
)

Results = Annotated[Path, typer.Argument(help="Results file that the ledger belongs to.")]
LedgerFile = Annotated[
    Path | None,
    typer.Option("--ledger", help="Ledger file.", show_default="beside the results"),
]


@ledger.command(cls=Command)
def show(results: Results, ledger_file: LedgerFile = None, as_json: AsJson = False) -> None:
    """Print how many studies are done, and each study whose decoder died."""
    import json
    from dataclasses import asdict

    with _opened(results, ledger_file) as opened:
        total, stale, absent = opened.counts()
        troubles = opened.troubles()
    if as_json:
        rows = [asdict(trouble) | {"quarantined": trouble.quarantined} for trouble in troubles]
        counts = {"studies": total, "stale": stale, "absent": absent, "trouble": rows}
        typer.echo(json.dumps(counts))
        return
    typer.echo(f"{total} studies done, {stale} of them stale, {absent} absent")
    for trouble in troubles:
        typer.echo(_line(trouble))


def _line(trouble: DecoderTrouble) -> str:
    state = "quarantined" if trouble.quarantined else "tried again"
    return f"{trouble.failures} {state} {trouble.study} {trouble.why}"


@ledger.command(cls=Command)
def retry(
    results: Results,
    study: Annotated[
        list[str] | None, typer.Argument(help="Keys of studies.", show_default="all in quarantine")
    ] = None,
    ledger_file: LedgerFile = None,
) -> None:
    """Release studies from quarantine: the next scan tries them again."""
    with _locked(results, ledger_file) as opened:
        keys = study or [trouble.study for trouble in opened.troubles() if trouble.quarantined]
        done = [key for key in keys if opened.retry(key)]
    typer.echo(f"{len(done)} studies will be tried again")
    _check_all(study or (), done)


@ledger.command(cls=Command)
def forget(
    results: Results,
    study: Annotated[list[str], typer.Argument(help="Keys of studies.")],
    ledger_file: LedgerFile = None,
) -> None:
    """Forget studies: the next scan treats them as new; until then their results stay."""
    from medscan import planning

    with _locked(results, ledger_file) as opened:
        done = [key for key in study if planning.forget(opened, results, key)]
    typer.echo(f"{len(done)} studies will be scanned again")
    _check_all(study, done)


def _check_all(keys: list[str] | tuple[()], done: list[str]) -> None:
    unknown = sorted(set(keys) - set(done))
    if unknown:
        raise UsageError(f"the ledger knows nothing of {unknown[0]!r}")


def _path(results: Path, ledger_file: Path | None) -> Path:
    return ledger_file or results.with_name(results.name + ".ledger")


@contextmanager
def _opened(results: Path, ledger_file: Path | None) -> Iterator[Ledger]:
    """Open a ledger that exists.

    Raises
    ------
    UsageError
        It does not exist.
    """
    from medscan.planning import Ledger

    path = _path(results, ledger_file)
    if not path.is_file():
        raise UsageError(f"there is no ledger {path}; name a results file that `medscan scan` made")
    opened = Ledger(path, existing=True)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def _locked(results: Path, ledger_file: Path | None) -> Iterator[Ledger]:
    """Open a ledger to change it, while no scan uses it."""
    from medscan.scanning import locked

    with _opened(results, ledger_file):
        pass  # say that there is none before any lock is made
    path = _path(results, ledger_file)
    with locked(results), locked(path), _opened(results, ledger_file) as opened:
        yield opened
