"""`medscan locate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medscan.results import StudyResult


def locate(
    results: Annotated[Path, typer.Argument(help="Results file.")],
    name: Annotated[
        list[str], typer.Argument(help="Hashed path, or key of a study, as in the results.")
    ],
    archive: Annotated[list[Path], typer.Option(help="Folder that was scanned; may be repeated.")],
    key_file: Annotated[
        Path | None, typer.Option(help="Key of the pseudonyms; default: beside the results.")
    ] = None,
) -> None:
    """Print which files hashed paths stand for; their names may tell who the patient is."""
    from medscan import results as reader
    from medscan.archive import Pseudonyms
    from medscan.errors import MedscanError, UsageError
    from medscan.inspect import locate_files
    from medscan.planning import key_beside, read_key
    from medscan.text import printable

    if missing := [root for root in archive if not root.exists()]:
        raise UsageError(f"--archive {missing[0]} does not exist")
    found = reader.open(results)
    studies = set(found.keys())
    paths = {word: _paths(found.study(word)) if word in studies else {word} for word in name}
    pseudonyms = Pseudonyms(read_key(key_file or key_beside(results)))
    seen = set()
    for hidden, path in locate_files(archive, set().union(*paths.values()), pseudonyms):
        seen.add(hidden)
        typer.echo(printable(str(path)))
    lost = [word for word, hidden in paths.items() if not hidden & seen]
    if lost:
        raise MedscanError(f"{lost[0]} stands for nothing in the archive named")


def _paths(study: StudyResult) -> set[str]:
    return {path for stack in study.stacks for path in stack.path} or {study.info["path"]}
