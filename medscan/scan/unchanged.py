"""A night in which nothing has changed: the scan ends after the walk, and says what it said before.

What a scan would find and do depends on what the walk finds, the results, the options, and what it
is scanned with. Where all of these are as the last scan left them, and that left nothing to be
done, this one has nothing to do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from medscan.archive import Outcome, Pseudonyms, Reason
from medscan.choices import Rescan
from medscan.options import ScanOptions
from medscan.planning import PASSING, PREPROCESSING, Ledger, Walk, parts_of, stamp_of
from medscan.scan.summary import Summary

NOTE = "unchanged"
"""In the ledger."""
TOLD = ("files", "reasons", "studies", "quarantined", "stale", "absent")
"""Fields of a summary that are still true."""


def signature(options: ScanOptions, walked: Walk, pseudonyms: Pseudonyms) -> str:
    """Of everything that decides what a scan finds and does; empty where that is looked up anew."""
    inputs, outputs = options.inputs, options.outputs
    asked = outputs.accounting or inputs.paranoid or outputs.prune_s is not None
    # A lone file may have its voxels in another, which no walk finds.
    if asked or options.budget.rescan is not Rescan.NONE or not all(map(Path.is_dir, inputs.roots)):
        return ""
    calibrations = ((d, d.calibration) for _, d in inputs.detectors)
    facts = [
        walked.digest(inputs, pseudonyms),
        stamp_of(outputs.out),
        options.identity,
        inputs.named,
        str(inputs.shard or ""),
        inputs.tools,
        PREPROCESSING,
        [[d.name, d.digest, c.threshold, c.target_fpr] for d, c in calibrations],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def recall(options: ScanOptions, ledger: Ledger, signed: str, summary: Summary) -> bool:
    """Fill in the summary of a scan that has nothing to do; whether this is one."""
    told = json.loads(ledger.meta(NOTE) or "{}")
    if not signed or told.get("signature") != signed or parts_of(options.outputs):
        return False
    for name in TOLD:
        setattr(summary, name, told[name])
    summary.unchanged = summary.studies
    return True


def remember(ledger: Ledger, signed: str, summary: Summary) -> None:
    """Note what the next scan may say if nothing changes."""
    told = {name: getattr(summary, name) for name in TOLD} | {"signature": signed}
    ledger.note(NOTE, json.dumps(told))


def is_final(walked: Walk, outcomes: Iterable[Outcome], summary: Summary) -> bool:
    """Whether the next scan would find the same if no file changes."""
    given_up = {item.file for item in walked.files if isinstance(item, Outcome)}
    passing = any(
        o.reason is Reason.ARRIVING or (o.reason in PASSING and o.file not in given_up)
        for o in outcomes
    )
    return not (passing or summary.left or summary.arriving or summary.failure)
