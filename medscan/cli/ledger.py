"""`medscan ledger`: what a scan knows of earlier ones, and studies that it leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medscan.planning import DecoderTrouble, Ledger

ledger = typer.Typer(help="What is done, and studies in quarantine.", no_args_is_help=True)

Results = Annotated[Path, typer.Argument(help="Results file that the ledger belongs to.")]
At = Annotated[
    Path | None,
    typer.Option("--ledger", metavar="ledger", help="Default: beside results."),
]


@ledger.command()
def show(
    results: Results,
    at: At = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what is known, and each study whose decoder died: failures, state, key, cause."""
    import json
    from dataclasses import asdict

    with _opened(results, at) as opened:
        total, stale, absent = opened.counts()
        found = opened.troubles()
    if as_json:
        told = [asdict(trouble) | {"quarantined": trouble.quarantined} for trouble in found]
        counts = {"studies": total, "stale": stale, "absent": absent, "trouble": told}
        typer.echo(json.dumps(counts))
        return
    typer.echo(f"{total} studies done, {stale} of them stale, {absent} absent")
    for trouble in found:
        typer.echo(_line(trouble))


def _line(trouble: DecoderTrouble) -> str:
    state = "quarantined" if trouble.quarantined else "tried again"
    return f"{trouble.failures} {state} {trouble.study} {trouble.why}"


@ledger.command()
def retry(
    results: Results,
    study: Annotated[
        list[str] | None, typer.Argument(help="Keys of studies; none: all in quarantine.")
    ] = None,
    at: At = None,
) -> None:
    """Let studies out of quarantine: the next scan tries them again."""
    with _locked(results, at) as opened:
        found = study or [trouble.study for trouble in opened.troubles() if trouble.quarantined]
        done = [key for key in found if opened.retry(key)]
    typer.echo(f"{len(done)} studies will be tried again")
    _check_all(study or (), done)


@ledger.command()
def forget(
    results: Results,
    study: Annotated[list[str], typer.Argument(help="Keys of studies.")],
    at: At = None,
) -> None:
    """Forget studies: the next scan does them as if they were new; results stay until then."""
    from medscan import planning

    with _locked(results, at) as opened:
        done = [key for key in study if planning.forget(opened, results, key)]
    typer.echo(f"{len(done)} studies will be scanned again")
    _check_all(study, done)


def _check_all(asked: list[str] | tuple[()], done: list[str]) -> None:
    from medscan.errors import UsageError

    unknown = sorted(set(asked) - set(done))
    if unknown:
        raise UsageError(f"the ledger knows nothing of {unknown[0]!r}")


def _path(results: Path, at: Path | None) -> Path:
    return at or results.with_name(results.name + ".ledger")


@contextmanager
def _opened(results: Path, at: Path | None) -> Iterator[Ledger]:
    """An open ledger that is there already.

    Raises
    ------
    medscan.errors.UsageError
        There is none.
    """
    from medscan.errors import UsageError
    from medscan.planning import Ledger

    path = _path(results, at)
    if not path.is_file():
        raise UsageError(f"there is no ledger {path}; name a results file that `medscan scan` made")
    opened = Ledger(path)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def _locked(results: Path, at: Path | None) -> Iterator[Ledger]:
    """As `_opened`, to be changed: not while a scan uses it."""
    from medscan.scan import locked

    with _opened(results, at):
        pass
    with locked(results), locked(_path(results, at)), _opened(results, at) as opened:
        yield opened
