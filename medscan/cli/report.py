"""`medscan report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    results: Annotated[list[Path], typer.Argument(help="Results files; several read as one.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write, without suffix; default: beside the first."),
    ] = None,
) -> None:
    """Write the CSV and HTML worklist of results again."""
    from medscan import report
    from medscan import results as reader
    from medscan.errors import UsageError

    found = [reader.open(path) for path in results]
    base = out or results[0].with_suffix("")
    if not base.parent.is_dir():
        raise UsageError(f"--out {base}: its folder does not exist")
    table, page = Path(f"{base}.csv"), Path(f"{base}.html")
    report.write_csv(found, table)
    report.write_html(found, page)
    typer.echo(f"{page} and {table} written")
