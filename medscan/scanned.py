"""A scan, and the files that are written beside its results."""

from __future__ import annotations

from medscan import report
from medscan.files import private_files
from medscan.options import Outputs, ScanOptions
from medscan.planning import FileEntry
from medscan.scanning import Engine, Summary, Watch, scan


def scan_and_report(
    options: ScanOptions, watch: Watch | None = None, engine: Engine | None = None
) -> Summary:
    """Scan, and write the worklist, and the history and the accounting that are asked for.

    Parameters, return value and errors are those of `medscan.scanning.scan`.
    """
    outputs = options.outputs
    with private_files(options.privacy.identify):
        summary = scan(options, watch, report.write_worklist, engine)
        if outputs.history:
            from medscan.monitoring import record  # with SciPy and scikit-learn: a second

            with summary.writing():
                record(outputs.history, outputs.out)
        with summary.writing():
            account(outputs, summary.entries)
    return summary


def account(outputs: Outputs, entries: list[FileEntry]) -> None:
    """Write the outcome of every file, if that is asked for.

    Raises
    ------
    medscan.errors.DiskError
        If it cannot be written.
    """
    if outputs.accounting is not None:
        report.write_accounting(entries, outputs.accounting)
