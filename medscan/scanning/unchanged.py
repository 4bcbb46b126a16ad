"""End a scan after the walk, with the last summary, if nothing has changed since.

What a scan does depends on the walked files, the results, the options and the installed versions.
If all of these are as the last scan left them, and that scan left nothing to do, then there is
nothing to do now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from medscan.archive import TRANSIENT_REASONS, Outcome, Pseudonyms, Reason
from medscan.choices import Rescan
from medscan.coverage import Coverage
from medscan.options import ScanOptions
from medscan.planning import PREPROCESSING, Ledger, Walk, parts_of, stamp_of
from medscan.scanning.summary import Summary

NOTE_NAME = "unchanged"
"""Name of the note in the ledger."""
KEPT_FIELDS = ("files", "reasons", "studies", "quarantined", "stale", "absent")
"""Fields of the last summary that are still true if nothing has changed."""


def signature(options: ScanOptions, walked: Walk, pseudonyms: Pseudonyms) -> str:
    """Return a hash of everything that decides what a scan does; empty if the scan must run."""
    inputs, outputs, rescan = options.inputs, options.outputs, options.budget.rescan
    must_run = outputs.accounting or inputs.paranoid or outputs.prune_s is not None
    must_run = bool(must_run or inputs.dropped_detectors)
    # A root that is one file may have its voxels in another file, which the walk does not see.
    if must_run or rescan is not Rescan.NONE or not all(map(Path.is_dir, inputs.roots)):
        return ""
    calibrations = ((d, d.calibration) for _, d in inputs.detectors)
    facts = [
        walked.digest(inputs, pseudonyms),
        stamp_of(outputs.out),
        options.identity,
        inputs.named,
        str(inputs.shard or ""),
        outputs.link_template,
        inputs.tools,
        str(inputs.bounds),
        str(inputs.stated),
        inputs.left_out,
        PREPROCESSING,
        [[d.name, d.digest, d.precision, c.threshold, c.target_fpr] for d, c in calibrations],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def recall_summary(options: ScanOptions, ledger: Ledger, current: str, summary: Summary) -> bool:
    """Fill in the summary from the last one if there is nothing to do; return whether it did."""
    kept = json.loads(ledger.meta(NOTE_NAME) or "{}")
    if not current or kept.get("signature") != current or parts_of(options.outputs):
        return False
    for name in KEPT_FIELDS:
        setattr(summary, name, kept[name])
    summary.coverage = Coverage(**kept["coverage"])
    summary.unchanged = summary.studies
    return True


def remember_summary(ledger: Ledger, current: str, summary: Summary) -> None:
    """Store the summary for the next scan, in case nothing changes until then."""
    kept = {name: getattr(summary, name) for name in KEPT_FIELDS}
    told = {
        "signature": current,
        "coverage": asdict(replace(summary.coverage, outdated=0, dropped=0)),
    }
    ledger.note(NOTE_NAME, json.dumps(kept | told))


def is_final(walked: Walk, outcomes: Iterable[Outcome], summary: Summary) -> bool:
    """Whether the next scan would do the same if no file changes.

    A file that the walk itself could not read is no exception: the next walk sees if that changes.
    """
    seen_by_walk = {item.file for item in walked.files if isinstance(item, Outcome)}
    may_change = any(
        o.reason is Reason.ARRIVING
        or (o.reason in TRANSIENT_REASONS and o.file not in seen_by_walk)
        for o in outcomes
    )
    return not (may_change or summary.left or summary.arriving or summary.failure)
