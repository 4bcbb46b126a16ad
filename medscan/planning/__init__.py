"""Find out what a scan has to do, from the archives and the ledger of earlier scans.

Routes stacks to detectors, leaves out what is done already, and accounts for every file.
"""

from medscan.planning.accounting import FileEntry, account
from medscan.planning.aside import set_parts_aside
from medscan.planning.keyfile import (
    KEY_BYTES,
    fingerprint_of,
    key_beside,
    pseudonym_key,
    read_key,
    results_pseudonyms,
)
from medscan.planning.ledger import DecoderTrouble, Ledger
from medscan.planning.marks import MarkChanges, dropped_scores, mark_changes, undropped_notes
from medscan.planning.plan import (
    PREPROCESSING,
    FindWork,
    due_tasks,
    is_new,
    is_quarantined,
    maker_of,
)
from medscan.planning.reconcile import (
    check,
    check_outputs,
    forget,
    move_away,
    parts_of,
    reconcile,
    reconcile_shard,
    recorded_parts,
    remove_leftovers,
    stamp_of,
)
from medscan.planning.survey import Survey, Walk, scan_pseudonyms, survey_archive, walk
from medscan.planning.task import Task

__all__ = [
    "KEY_BYTES",
    "PREPROCESSING",
    "DecoderTrouble",
    "FileEntry",
    "FindWork",
    "Ledger",
    "MarkChanges",
    "Survey",
    "Task",
    "Walk",
    "account",
    "check",
    "check_outputs",
    "dropped_scores",
    "due_tasks",
    "fingerprint_of",
    "forget",
    "is_new",
    "is_quarantined",
    "key_beside",
    "maker_of",
    "mark_changes",
    "move_away",
    "parts_of",
    "pseudonym_key",
    "read_key",
    "reconcile",
    "reconcile_shard",
    "recorded_parts",
    "remove_leftovers",
    "results_pseudonyms",
    "scan_pseudonyms",
    "set_parts_aside",
    "stamp_of",
    "survey_archive",
    "undropped_notes",
    "walk",
]
