"""`medscan locate`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medscan.cli.options import KeyFile, archive_option
from medscan.errors import MedscanError, UsageError
from medscan.text import printable

if TYPE_CHECKING:
    from medscan.archive import Pseudonyms
    from medscan.inspect import Place


def locate(
    results: Annotated[Path, typer.Argument(help="Results file.")],
    name: Annotated[
        list[str],
        typer.Argument(
            help="What to find: a UID, the key of a study, the pseudonym of a patient, or a hashed "
            "path. Further results files may come first."
        ),
    ],
    archive: Annotated[list[Path], archive_option()],
    key_file: KeyFile = None,
) -> None:
    """Print where the files of a study or patient lie; their names may identify patients."""
    from medscan import results as reader
    from medscan.inspect import locate_files, named_places

    more, names = _split(name)
    known: dict[str, set[Place]] = defaultdict(set)
    wanted: dict[Pseudonyms, set[Place]] = defaultdict(set)
    for file in [reader.open(path) for path in (results, *more)]:
        pseudonyms = _pseudonyms(file.path, file.key_fingerprint(), key_file)
        for word, places in named_places(file, names).items():
            known[word] |= places
            wanted[pseudonyms] |= places or {("", word)}
    printed: set[Path] = set()
    located: set[Place] = set()
    for pseudonyms, places in wanted.items():
        for place, path in locate_files(archive, places, pseudonyms):
            if path not in printed:
                typer.echo(printable(str(path)))
            printed.add(path)
            located.add(place)
    for word in names:
        if not (known[word] or {("", word)}) & located:
            what = "it has" if known[word] else "no study or patient has that name, and it is"
            raise MedscanError(f"{word}: {what} no file in the archive named")


def _split(words: list[str]) -> tuple[list[Path], list[str]]:
    """Part the results files, which come first, from the names."""
    count = next((n for n, word in enumerate(words) if not Path(word).is_file()), len(words))
    if count == len(words):
        raise UsageError(f"{words[-1]} is a file: name what to find after the results files")
    return [Path(word) for word in words[:count]], words[count:]


def _pseudonyms(results: Path, fingerprint: str, key_file: Path | None) -> Pseudonyms:
    from medscan.archive import Pseudonyms
    from medscan.planning import key_beside, read_key, results_pseudonyms

    found = results_pseudonyms(results, fingerprint, key_file)
    return found or Pseudonyms(read_key(key_beside(results)))
