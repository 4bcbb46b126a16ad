"""Bring the ledger, part files and results of earlier scans to agree; call it under the lock."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain
from pathlib import Path

from medscan import results
from medscan.choices import Shard
from medscan.errors import DiskError, UsageError
from medscan.files import remove
from medscan.options import Outputs, ScanOptions, parts_folder
from medscan.planning.aside import set_parts_aside, set_results_aside
from medscan.planning.ledger import Ledger

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


def recorded_parts(outputs: Outputs, ledger: Ledger) -> list[Path]:
    """List the part files that the ledger knows of.

    Others come from processes of a killed scan that outlived it; the next scan adopts them.
    """
    recorded = set(ledger.unpublished())
    return [part for part in parts_of(outputs) if part.stem in recorded]


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


def reconcile(ledger: Ledger, outputs: Outputs, damage: list[str] | None = None) -> None:
    """Make the ledger's work that of the results and part files, and nothing else.

    A scan may have been killed between any two of its steps, and users may remove or replace files:
    what the files hold is true, even if the ledger says otherwise.

    Parameters
    ----------
    ledger : Ledger
    outputs : Outputs
    damage : list of str or None
        If given, damaged files are set aside, and a line about them is added. Their studies are
        scanned again.
    """
    ledger.check()
    found = results.readable(outputs.out)
    if damage is not None and outputs.out.exists():
        set_results_aside(outputs, found, damage)
    # Killed after the results were replaced, a scan has not stamped them in the ledger; the stamp
    # differs too when another file was put in their place.
    stamp = stamp_of(outputs.out)
    if ledger.meta("results") != stamp:
        ledger.restore(found.works() if found else (), stamp)
    for study in found.damaged() if found else ():
        ledger.forget(study)
    # Killed after a part was written, a scan has not recorded it. Parts come second, because they
    # are newer than the results.
    parts = parts_of(outputs)
    damaged_parts = [part for part in parts if not _adopt(ledger, part)]
    intact = {part.stem for part in parts} - {part.stem for part in damaged_parts}
    # Recorded, but in no file: the part is damaged, or somebody removed it.
    for study in set(ledger.unpublished()) - intact:
        ledger.forget(study)
    if damaged_parts and damage is not None:
        damage.append(set_parts_aside(outputs, damaged_parts))


def reconcile_shard(ledger: Ledger, outputs: Outputs, shard: Shard | None) -> None:
    """Record in the ledger which shard of the archive its parts belong to; see `check_shard`.

    A new ledger does not say: its parts are taken to belong to the shard asked for.
    """
    wanted, recorded = str(shard or WHOLE), ledger.meta("shard")
    # If results can be read, `check` has compared their shard with the wanted one already.
    if recorded and results.readable(outputs.out) is None and parts_of(outputs):
        check_shard(outputs, shard, recorded.removeprefix(WHOLE))
    if recorded != wanted:
        ledger.note("shard", wanted)


def check(options: ScanOptions) -> None:
    """Refuse options that cannot work, before anything is written.

    Raises
    ------
    UsageError
        If an option is invalid, there is no detector, or the results belong to another shard.
    """
    check_outputs(options)
    if not options.inputs.detectors:
        raise UsageError("there is no detector to scan with; fit one with `medscan fit`")


def check_outputs(options: ScanOptions) -> None:
    """Refuse options that cannot work with any detector.

    Raises
    ------
    UsageError
        If an option is invalid, or the results belong to another shard.
    """
    options.check()
    outputs = options.outputs
    if found := results.readable(outputs.out):
        check_shard(outputs, options.inputs.shard, found.shard())


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
