"""What earlier scans left: parts, results and ledger, brought to agree. Called under the lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from medscan import results
from medscan.choices import Shard
from medscan.errors import DiskError, UsageError
from medscan.files import remove
from medscan.options import Outputs, ScanOptions, parts_folder
from medscan.planning.ledger import Ledger
from medscan.results import Mark, Work

WHOLE = "whole"
"""In a ledger, in place of a shard."""


def remove_leftovers(outputs: Outputs) -> None:
    """Remove what a killed scan left half-written; whole parts stay."""
    left = [outputs.parts.glob(".*.part")]
    left += [path.parent.glob(f".{path.name}.*.part") for path in outputs.files]
    for path in chain.from_iterable(left):
        remove(path)
    with suppress(OSError):  # it still holds parts, or is not there
        outputs.parts.rmdir()


def parts_of(outputs: Outputs) -> list[Path]:
    """Part files: studies that are finished, but not in the results yet."""
    return sorted(outputs.parts.glob("*.h5")) if outputs.parts.is_dir() else []


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


def reconcile(ledger: Ledger, outputs: Outputs, notes: list[str] | None = None) -> None:
    """Let the ledger know the work that is in the results and in part files, and no other.

    Parameters
    ----------
    ledger : Ledger
    outputs : Outputs
    notes : list of str or None
        Where given, damaged parts are removed, and it is told so: their studies are due again.
    """
    stamp = stamp_of(outputs.out)
    if ledger.meta("results") != stamp:
        ledger.restore(_published(outputs.out), stamp)
    parts = parts_of(outputs)
    damaged = [part for part in parts if not _adopt(ledger, part)]
    whole = {part.stem for part in parts} - {part.stem for part in damaged}
    for study in set(ledger.unpublished()) - whole:  # its part is damaged, or was removed
        ledger.forget(study)
    if damaged and notes is not None:
        for part in damaged:
            remove(part)
        notes.append(f"{len(damaged)} damaged part files were removed")


def reconcile_shard(ledger: Ledger, outputs: Outputs, shard: Shard | None) -> None:
    """Let the ledger know which share of the archive its parts are of; see `check_shard`.

    A ledger that was made anew does not say: its parts are taken to be of the share asked for.
    """
    asked, held = str(shard or WHOLE), ledger.meta("shard")
    # Where there are results, `check_shard` has compared them with the request already.
    if held and not outputs.out.exists() and parts_of(outputs):
        check_shard(outputs, shard, held.removeprefix(WHOLE))
    if held != asked:
        ledger.note("shard", asked)


def check(options: ScanOptions) -> None:
    """Refuse what cannot work, before anything is written.

    Raises
    ------
    UsageError
    """
    options.check()
    outputs = options.outputs
    if outputs.out.exists():
        check_shard(outputs, options.inputs.shard, results.open(outputs.out).shard())


def check_shard(outputs: Outputs, shard: Shard | None, held: str) -> None:
    """Refuse to add one share of an archive to another: its studies would seem to be gone.

    Parameters
    ----------
    outputs : Outputs
    shard : Shard or None
        The share asked for.
    held : str
        The share that there are results of; empty: of the whole archive.

    Raises
    ------
    UsageError
    """
    if held != str(shard or ""):
        kept = f"shard {held}" if held else "results without --shard"
        raise UsageError(f"{outputs.out} holds {kept}: scan that again, or choose another --out")


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
