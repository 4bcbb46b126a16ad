"""Publish: replace the results file and its worklist as a whole."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from medscan import results
from medscan.archive import Bucket
from medscan.files import remove
from medscan.options import Outputs, ScanOptions
from medscan.planning import (
    Ledger,
    MarkChanges,
    recorded_parts,
    remove_leftovers,
    set_parts_aside,
    stamp_of,
)
from medscan.results import Dropped, RunInfo
from medscan.scanning.summary import Summary
from medscan.scoring import AGGREGATION, describe

Publish = Callable[[Path, Path, Path], None]
"""`publish(out, table, page)` writes the worklist of a results file."""


def publish_worklist(outputs: Outputs, ledger: Ledger, publish: Publish) -> None:
    """Write the worklist unless both files exist and were made from these results.

    The ledger's stamp decides, not the files' times: clocks of servers differ.
    """
    stamp, (table, page) = stamp_of(outputs.out), outputs.worklists
    exist = table.exists() and page.exists()
    if stamp and not (exist and ledger.meta("worklist") == stamp):
        publish(outputs.out, table, page)
        ledger.note("worklist", stamp)


def accounts_changed(outputs: Outputs, summary: Summary) -> bool:
    """Whether the published results hold another accounting than this scan's."""
    if not outputs.out.exists():
        return True
    old = results.open(outputs.out).run()
    return (old.failures, old.skipped) != _tables(summary)


def publish_results(
    options: ScanOptions,
    summary: Summary,
    ledger: Ledger,
    changes: MarkChanges,
    dropped: Dropped,
    key_fingerprint: str,
    seconds: float,
    check: Callable[[], object],
) -> None:
    """Replace the results file by its studies plus the parts, and remove the parts.

    The order matters: until the ledger is stamped, a killed scan leaves parts that the next one
    publishes again, with the same result.

    Parameters
    ----------
    options : ScanOptions
    summary : Summary
        With its entries.
    ledger : Ledger
    changes : dict
        See `medscan.planning.mark_changes`.
    dropped : mapping
        See `medscan.planning.dropped_scores`.
    key_fingerprint : str
    seconds : float
        Time that the scan has taken so far.
    check : callable
        Called again and again while results are written; an error that it raises leaves the old
        ones and all parts as they are.

    Raises
    ------
    medscan.errors.DiskError
        If it cannot be written; the old results file is untouched.
    """
    inputs, outputs, privacy = options.inputs, options.outputs, options.privacy
    failures, skipped = _tables(summary)
    run = RunInfo(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=outputs.command,
        aggregation=AGGREGATION,
        detectors=_detectors(options, summary.notes),
        counts=summary.files | {"files": sum(summary.files.values())},
        failures=failures,
        skipped=skipped,
        seconds=seconds,
        slices=summary.slices,
        repeated=summary.repeated,
        key_fingerprint=key_fingerprint,
        precision=_precision(options),
        plane=inputs.cut_plane or "",
        identify=privacy.identify,
        hash_paths=privacy.hashes_paths,
        shard=str(inputs.shard or ""),
        link_template=_link_template(outputs),
    )
    parts = recorded_parts(outputs, ledger)
    damaged = results.publish(outputs.out, run, parts, changes, dropped, check)
    if damaged:  # since they were written or checked, in this scan
        summary.damage.append(set_parts_aside(outputs, damaged))
    for part in damaged:
        ledger.forget(part.stem)
    ledger.published(stamp_of(outputs.out), changes, dropped)
    for part in parts:
        remove(part)
    remove_leftovers(outputs)


def link_changed(outputs: Outputs) -> bool:
    """Whether the published results hold another template of links than the one that is named."""
    named = outputs.link_template
    return named is not None and _link_template(replace(outputs, link_template=None)) != named


def _link_template(outputs: Outputs) -> str:
    """Return the template of links: the one named, else that of the results before."""
    if outputs.link_template is not None:
        return outputs.link_template
    return results.open(outputs.out).run().link_template if outputs.out.exists() else ""


def _precision(options: ScanOptions) -> str:
    """Return the precision that all detectors are computed in; `auto` where they differ."""
    found = {options.compute.precision_of(detector) for _, detector in options.inputs.detectors}
    return str(found.pop() if len(found) == 1 else options.compute.precision)


def _tables(summary: Summary) -> tuple[list[Any], list[Any]]:
    """Return failures (path, stage, reason, message) and skipped files (path, reason)."""
    rows = [(e.bucket, e.file.path, e.outcome) for e in summary.entries]
    failures = [(p, "read", str(o.reason), o.detail) for b, p, o in rows if b is Bucket.FAILED]
    skipped = [(p, str(o.reason)) for b, p, o in rows if b is Bucket.SKIPPED]
    return failures, skipped


def _detectors(options: ScanOptions, notes: list[str]) -> list[dict[str, Any]]:
    """Describe the detectors of this run, and those of earlier runs whose results stay.

    A record that is damaged is dropped; `notes` receives a sentence about it.
    """
    outputs, compute = options.outputs, options.compute
    by_hash = {
        detector.digest: describe(detector) | {"precision": str(compute.precision_of(detector))}
        for _, detector in options.inputs.detectors
    }
    if outputs.out.exists():
        earlier = results.open(outputs.out).run()
        for old in earlier.detectors:
            by_hash.setdefault(old["hash"], old)
        notes += [f"{damage}; it was dropped" for damage in earlier.damage]
    return [by_hash[digest] for digest in sorted(by_hash)]
