"""`medscan locate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medscan.cli.options import KeyFile, archive_option
from medscan.errors import MedscanError

if TYPE_CHECKING:
    from medscan.results import StudyResult


def locate(
    results: Annotated[Path, typer.Argument(help="Results file.")],
    name: Annotated[
        list[str], typer.Argument(help="Hashed path, or key of a study, as the results give it.")
    ],
    archive: Annotated[list[Path], archive_option()],
    key_file: KeyFile = None,
) -> None:
    """Print the files that hashed paths stand for; their names may identify patients."""
    from medscan import results as reader
    from medscan.archive import Pseudonyms
    from medscan.inspect import locate_files
    from medscan.planning import key_beside, read_key, results_pseudonyms
    from medscan.text import printable

    file = reader.open(results)
    studies = set(file.keys())
    wanted = {word: _paths(file.study(word)) if word in studies else {word} for word in name}
    pseudonyms = results_pseudonyms(results, file.key_fingerprint(), key_file)
    pseudonyms = pseudonyms or Pseudonyms(read_key(key_beside(results)))
    located = set()
    for hidden, path in locate_files(archive, set().union(*wanted.values()), pseudonyms):
        located.add(hidden)
        typer.echo(printable(str(path)))
    lost = [word for word, hidden in wanted.items() if not hidden & located]
    if lost:
        raise MedscanError(f"{lost[0]} stands for no file in the archive named")


def _paths(study: StudyResult) -> set[str]:
    return {path for stack in study.stacks for path in stack.path} or {study.info["path"]}
