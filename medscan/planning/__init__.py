"""Archives and the ledger of earlier scans -> what there is to do.

Routes stacks to detectors, knows what is done already, and accounts for every file.
"""

from medscan.planning.accounting import FileEntry, account
from medscan.planning.keyfile import (
    BYTES,
    fingerprint_of,
    key_beside,
    pseudonym_key,
    read_key,
    results_pseudonyms,
)
from medscan.planning.ledger import Ledger, Trouble
from medscan.planning.marks import MarkChanges, mark_changes
from medscan.planning.plan import (
    PASSING,
    PREPROCESSING,
    FindWork,
    Task,
    is_due,
    is_quarantined,
    ordered,
)
from medscan.planning.reconcile import (
    check,
    forget,
    move_away,
    parts_of,
    reconcile,
    reconcile_shard,
    remove_leftovers,
    stamp_of,
)
from medscan.planning.routing import fits, route
from medscan.planning.survey import Survey, Walk, scan_pseudonyms, survey_archive, walk

__all__ = [
    "BYTES",
    "PASSING",
    "PREPROCESSING",
    "FileEntry",
    "FindWork",
    "Ledger",
    "MarkChanges",
    "Survey",
    "Task",
    "Trouble",
    "Walk",
    "account",
    "check",
    "fingerprint_of",
    "fits",
    "forget",
    "is_due",
    "is_quarantined",
    "key_beside",
    "mark_changes",
    "move_away",
    "ordered",
    "parts_of",
    "pseudonym_key",
    "read_key",
    "reconcile",
    "reconcile_shard",
    "remove_leftovers",
    "results_pseudonyms",
    "route",
    "scan_pseudonyms",
    "stamp_of",
    "survey_archive",
    "walk",
]
