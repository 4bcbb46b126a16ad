"""Scans and fits as functions, with the options of the commands as keywords."""

from __future__ import annotations

import datetime
import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medscan.api.checked import Gib, Millimetres, Seconds, checked
from medscan.api.detector import Detector
from medscan.api.values import (
    PathLike,
    bytes_of,
    chosen,
    compute_of,
    left_out_of,
    path_of,
    paths_of,
    shard_of,
    stated_of,
)
from medscan.choices import (
    FILE_TIMEOUT_S,
    MAX_FILE_BYTES,
    Age,
    Bounds,
    FitPrecision,
    Order,
    Plane,
    Rescan,
)
from medscan.chosen import read_detectors
from medscan.errors import DiskError, MedscanError
from medscan.links import parse_template
from medscan.options import Budget, Inputs, Outputs, Privacy, ScanOptions
from medscan.outputs import check_detector, labelled
from medscan.scanned import scan_and_report
from medscan.scanning import Summary, Watch


@checked
def scan(
    archive: PathLike | Sequence[PathLike],
    out: PathLike = "results.h5",
    *,
    detector: PathLike | Sequence[PathLike] = (),
    drop_detector: Sequence[str] = (),
    target_fpr: float | None = None,
    plane: str | None = None,
    domain: Mapping[str, str] | None = None,
    leave_out: Iterable[tuple[str, str]] = (),
    shard: tuple[int, int] | None = None,
    settle: Seconds = 0.0,
    every: Millimetres | None = None,
    paranoid: bool = False,
    file_timeout: Seconds = FILE_TIMEOUT_S,
    max_file_gib: Gib = MAX_FILE_BYTES / (1 << 30),
    max_file_planes: int = Bounds().file_planes,
    max_study_planes: int = Bounds().study_planes,
    min_side: int = Bounds().side,
    ledger: PathLike | None = None,
    key_file: PathLike | None = None,
    accounting: PathLike | None = None,
    history: PathLike | None = None,
    link_template: str | None = None,
    prune: Seconds | None = None,
    until: datetime.time | None = None,
    max_studies: int | None = None,
    order: str = "path",
    rescan: str = "none",
    device: str = "auto",
    precision: str = "auto",
    runtime: str = "auto",
    batch_size: int | None = None,
    workers: int = 1,
    identify: bool = False,
    hash_paths: bool | None = None,
    thumbnails: bool = True,
    burned_in: bool = False,
    watch: Watch | None = None,
) -> Summary:
    """Scan archives as `medscan scan` does: write results.h5, its ledger, its CSV and its page.

    Keywords are the options of the command, which medscan-scan(1) explains; what it takes as text
    is a value here: times are seconds, `shard` is (3, 16), `domain` a dict such as
    {"modality": "US"}, `leave_out` pairs such as ("ImageType", "LOCALIZER").

    Parameters
    ----------
    archive : str, path or sequence of them
        Folders or files to scan.
    out : str or path
        Results file to write or add to.
    watch : callable, optional
        Called as `watch(done, studies, slices, failures)` after each batch.

    Returns
    -------
    Summary
        What was done: numbers of `studies`, `scanned`, `flagged`, `unchanged`, `slices`, of `files`
        by bucket and `reasons`; `stopped` if it ended early, and why; `notes`; `line()`, a sentence
        for people; `faults(strict=False)`, what a person must hear about, a line each.

    Raises
    ------
    medscan.errors.UsageError
        If an argument cannot be used; nothing has been written then.
    medscan.errors.LockedError
        If another scan uses the same results file or ledger.
    medscan.errors.DiskError
        If an output cannot be written.
    medscan.errors.MedscanError
        If something ended the scan, such as a lost device; what was scanned before is published.

    Notes
    -----
    While it runs in the main thread, SIGINT and SIGTERM end it cleanly: studies that are finished
    are published, and the signal is then raised again, SIGINT as KeyboardInterrupt.
    """
    compute = compute_of(device, precision, batch_size, workers, runtime)
    options = ScanOptions(
        Inputs(
            roots=paths_of(archive),
            detectors=read_detectors(paths_of(detector), target_fpr, compute),
            named=bool(paths_of(detector)),
            dropped_detectors=tuple(drop_detector),
            plane=None if plane is None else chosen("plane", plane, Plane),
            shard=shard_of(shard),
            settle_s=settle,
            every_mm=every,
            paranoid=paranoid,
            file_timeout_s=file_timeout,
            max_file_bytes=bytes_of(max_file_gib),
            max_file_planes=max_file_planes,
            max_study_planes=max_study_planes,
            min_side=min_side,
            stated=stated_of(domain),
            left_out=left_out_of(leave_out),
        ),
        Outputs(
            path_of(out),
            ledger=_optional(ledger),
            key_file=_optional(key_file),
            accounting=_optional(accounting),
            history=_optional(history),
            prune_s=prune,
            link_template=None if link_template is None else parse_template(link_template),
            command="medscan.scan",
        ),
        compute,
        Privacy(identify, hash_paths, thumbnails, burned_in),
        Budget(
            until,
            max_studies,
            chosen("order", order, Order),
            chosen("rescan", rescan, Rescan),
        ),
    )
    summary = scan_and_report(options, watch)
    if summary.failure:
        raise MedscanError("; ".join(summary.faults()))
    if summary.unwritten:
        raise DiskError("; ".join(summary.faults()))
    if summary.stopped in ("SIGINT", "SIGTERM"):
        signal.raise_signal(signal.Signals[summary.stopped])
    return summary


@checked
def fit(
    data: PathLike | Sequence[PathLike] = (),
    out: PathLike = "detector.safetensors",
    *,
    archive: PathLike | Sequence[PathLike] = (),
    labels: PathLike | None = None,
    normal: Sequence[str] = (),
    abnormal: Sequence[str] = (),
    shots: int | None = None,
    organ: str = "organ",
    source_organ: Sequence[str] = (),
    window: str = "auto",
    licence: str = "unknown",
    method: str = "discriminant",
    protocol: str = "clean",
    backbone: str = "medscan-mini",
    size: int | None = None,
    tiles: int | None = None,
    zero_shot: bool = False,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    modality: str = "",
    body_part: str = "",
    sequence: str = "",
    plane: str | None = None,
    age: str | None = None,
    folds: int = 4,
    target_fpr: float = 0.05,
    device: str = "auto",
    precision: str = "fp32",
) -> Detector:
    """Fit a detector on labelled images or studies as `medscan fit` does, write it, and load it.

    Keywords are the options of the command, which medscan-fit(1) explains; `settings` are those of
    `--set`, as a dict such as {"epochs": 20}.

    Parameters
    ----------
    data : str, path or sequence of them
        Folder or CSV manifest of labelled images; several with `zero_shot`; none with `labels`.
    out : str or path
        Detector file to write.
    labels : str or path, optional
        Table of the studies in `archive` that are normal or abnormal as a whole.

    Raises
    ------
    medscan.errors.UsageError
        If the data or an argument cannot be used.
    medscan.errors.DiskError
        If the file cannot be written.
    """
    from medscan.bags import fit_studies, studies_of
    from medscan.clip import choose_device
    from medscan.detector import Domain
    from medscan.fitting import FitOptions
    from medscan.fitting import fit as run_fit

    path, cut = path_of(out), "" if plane is None else chosen("plane", plane, Plane)
    grown = "" if age is None else chosen("age", age, Age)
    number = chosen("precision", precision, FitPrecision)
    table = None if labels is None else path_of(labels)
    check_detector(path, [*labelled(*paths_of(data)), *paths_of(archive), table], "out")
    studies = studies_of(paths_of(data), paths_of(archive), table, normal, abnormal)
    options = FitOptions(
        shots=shots,
        method=method,
        protocol=protocol,
        backbone=backbone,
        organ=organ,
        zero_shot=zero_shot,
        source_organs=tuple(source_organ),
        size=size,
        tiles=tiles,
        domain=Domain(modality, body_part, sequence, str(cut), str(grown)),
        window=window,
        seed=seed,
        folds=folds,
        target_fpr=target_fpr,
        device=choose_device(device),
        precision=number.value,
        licence=licence,
        settings=dict(settings or {}),
    )
    if studies is None:
        fitted, method_ = run_fit(paths_of(data), options)
    else:
        fitted, method_ = fit_studies(studies, options)
    fitted.save(path, method_)
    return Detector.load(path, device=device)


def _optional(given: PathLike | None) -> Path | None:
    return None if given is None else path_of(given)
