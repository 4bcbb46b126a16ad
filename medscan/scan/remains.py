"""What earlier scans left: parts, results and ledger, brought to agree. Called under the lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from medscan import results
from medscan.errors import DiskError
from medscan.files import remove
from medscan.results import Mark, Work
from medscan.scan.ledger import Ledger
from medscan.scan.options import ScanOptions, check_shard, parts_folder

WHOLE = "whole"
"""In a ledger, in place of a shard."""


def sweep(options: ScanOptions) -> None:
    """Remove what a killed scan left half-written; whole parts stay."""
    left = [options.parts.glob(".*.part")]
    left += [path.parent.glob(f".{path.name}.*.part") for path in options.outputs]
    for path in chain.from_iterable(left):
        remove(path)
    with suppress(OSError):  # it still holds parts, or is not there
        options.parts.rmdir()


def parts_of(options: ScanOptions) -> list[Path]:
    """Part files: studies that are finished, but not in the results yet."""
    return sorted(options.parts.glob("*.h5")) if options.parts.is_dir() else []


def forget(ledger: Ledger, out: Path, study: str) -> bool:
    """Let the next scan do a study as if it were new; whether anything was known of it."""
    folder = parts_folder(out)
    parts = [part for part in folder.glob("*.h5") if part.stem == study] if folder.is_dir() else []
    for part in parts:
        remove(part)
    return ledger.forget(study) or bool(parts)


def move_away(path: Path) -> Path:
    """Put a damaged ledger, and the journal that belongs to it, out of the way; says where to."""
    damaged = path.with_name(f"{path.name}.damaged")
    try:
        for end in ("-journal", ""):
            with suppress(FileNotFoundError):
                path.with_name(path.name + end).replace(damaged.with_name(damaged.name + end))
    except OSError as error:
        raise DiskError(f"{path} cannot be moved away: {error.strerror}") from error
    return damaged


def agree(ledger: Ledger, options: ScanOptions, notes: list[str] | None = None) -> None:
    """Let the ledger know the work that is in the results and in part files, and no other.

    Parameters
    ----------
    ledger : Ledger
    options : ScanOptions
    notes : list of str or None
        Where given, damaged parts are removed, and it is told so: their studies are due again.
    """
    stamp = stamp_of(options.out)
    if ledger.meta("results") != stamp:
        ledger.restore(_published(options.out), stamp)
    parts = parts_of(options)
    damaged = [part for part in parts if not _adopt(ledger, part)]
    whole = {part.stem for part in parts} - {part.stem for part in damaged}
    for study in set(ledger.unpublished()) - whole:  # its part is damaged, or was removed
        ledger.forget(study)
    if damaged and notes is not None:
        for part in damaged:
            remove(part)
        notes.append(f"{len(damaged)} damaged part files were removed")


def agree_shard(ledger: Ledger, options: ScanOptions) -> None:
    """Let the ledger know which share of the archive its parts are of; see `check_shard`.

    One that was made anew does not: its parts are taken for what is asked.
    """
    asked, held = str(options.shard or WHOLE), ledger.meta("shard")
    if held and not options.out.exists() and parts_of(options):  # results were checked: they say it
        check_shard(options, held.removeprefix(WHOLE))
    if held != asked:
        ledger.note("shard", asked)


def _adopt(ledger: Ledger, part: Path) -> bool:
    """Let the ledger know the work in a part; whether that can be read."""
    work = results.read_part(part)
    if work is not None and ledger.work(part.stem) != work:
        ledger.adopt(part.stem, work)
    return work is not None


def stamp_of(path: Path) -> str:
    """Tells a results file from every other; empty when there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ""
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"


def _published(out: Path) -> Iterator[tuple[str, Work, Mark]]:
    return results.open(out).works() if out.exists() else iter(())
