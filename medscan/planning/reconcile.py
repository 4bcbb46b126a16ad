"""Bring the ledger, part files and results of earlier scans to agree; call it under the lock."""

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
"""Stands in a ledger in place of a shard, for the whole archive."""


def remove_leftovers(outputs: Outputs) -> None:
    """Remove half-written files of a killed scan; complete part files stay."""
    half_written = [outputs.parts.glob(".*.part")]
    half_written += [path.parent.glob(f".{path.name}.*.part") for path in outputs.files]
    for path in chain.from_iterable(half_written):
        remove(path)
    with suppress(OSError):  # the folder still holds parts, or does not exist
        outputs.parts.rmdir()


def parts_of(outputs: Outputs) -> list[Path]:
    """List the part files: studies that are finished, but not in the results yet."""
    return sorted(outputs.parts.glob("*.h5")) if outputs.parts.is_dir() else []


def forget(ledger: Ledger, out: Path, study: str) -> bool:
    """Let the next scan treat a study as new; return whether anything was recorded of it."""
    folder = parts_folder(out)
    parts = [part for part in folder.glob("*.h5") if part.stem == study] if folder.is_dir() else []
    for part in parts:
        remove(part)
    return ledger.forget(study) or bool(parts)


def move_away(path: Path) -> Path:
    """Rename a damaged ledger and its journal; return the new path."""
    damaged = path.with_name(f"{path.name}.damaged")
    try:
        # The journal first: SQLite would apply one that is left behind to the new ledger.
        for end in ("-journal", ""):
            with suppress(FileNotFoundError):
                path.with_name(path.name + end).replace(damaged.with_name(damaged.name + end))
    except OSError as error:
        raise DiskError(f"{path} cannot be moved away: {error.strerror}") from error
    return damaged


def reconcile(ledger: Ledger, outputs: Outputs, notes: list[str] | None = None) -> None:
    """Make the ledger's work that of the results and part files, and nothing else.

    A scan may have been killed between any two of its steps, and users may remove or replace files:
    what the files hold is true, even if the ledger says otherwise.

    Parameters
    ----------
    ledger : Ledger
    outputs : Outputs
    notes : list of str or None
        If given, damaged parts are removed, so that their studies are scanned again, and a note
        about them is added.
    """
    # Killed after the results were replaced, a scan has not stamped them in the ledger; the stamp
    # differs too when another file was put in their place.
    stamp = stamp_of(outputs.out)
    if ledger.meta("results") != stamp:
        ledger.restore(_published_works(outputs.out), stamp)
    # Killed after a part was written, a scan has not recorded it. Parts come second, because they
    # are newer than the results.
    parts = parts_of(outputs)
    damaged = [part for part in parts if not _adopt(ledger, part)]
    intact = {part.stem for part in parts} - {part.stem for part in damaged}
    # Recorded, but in no file: the part is damaged, or somebody removed it.
    for study in set(ledger.unpublished()) - intact:
        ledger.forget(study)
    if damaged and notes is not None:
        for part in damaged:
            remove(part)
        notes.append(f"{len(damaged)} damaged part files were removed")


def reconcile_shard(ledger: Ledger, outputs: Outputs, shard: Shard | None) -> None:
    """Record in the ledger which shard of the archive its parts belong to; see `check_shard`.

    A new ledger does not say: its parts are taken to belong to the shard asked for.
    """
    wanted, recorded = str(shard or WHOLE), ledger.meta("shard")
    # If there are results, `check` has compared their shard with the wanted one already.
    if recorded and not outputs.out.exists() and parts_of(outputs):
        check_shard(outputs, shard, recorded.removeprefix(WHOLE))
    if recorded != wanted:
        ledger.note("shard", wanted)


def check(options: ScanOptions) -> None:
    """Refuse options that cannot work, before anything is written.

    Raises
    ------
    UsageError
        If an option is invalid, or the results belong to another shard.
    """
    options.check()
    outputs = options.outputs
    if outputs.out.exists():
        check_shard(outputs, options.inputs.shard, results.open(outputs.out).shard())


def check_shard(outputs: Outputs, shard: Shard | None, existing: str) -> None:
    """Refuse to mix two shards of an archive: the first one's studies would look absent.

    Parameters
    ----------
    outputs : Outputs
    shard : Shard or None
        The shard to scan.
    existing : str
        The shard that existing results belong to; empty: the whole archive.

    Raises
    ------
    UsageError
        If the two differ.
    """
    if existing != str(shard or ""):
        holds = f"shard {existing}" if existing else "results without --shard"
        raise UsageError(f"{outputs.out} holds {holds}: scan that again, or choose another --out")


def _adopt(ledger: Ledger, part: Path) -> bool:
    """Record the work of a part file in the ledger; return whether the file is intact."""
    work = results.read_part(part)
    if work is not None and ledger.work(part.stem) != work:
        ledger.adopt(part.stem, work)
    return work is not None


def stamp_of(path: Path) -> str:
    """Return a text that differs for every results file written; empty if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return ""
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"


def _published_works(out: Path) -> Iterator[tuple[str, Work, Mark]]:
    return results.open(out).works() if out.exists() else iter(())
