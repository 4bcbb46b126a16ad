"""medscan: score the studies of an imaging archive with few-shot CLIP anomaly models.

The rooms of the house, in the order that data goes through them. A room imports only rooms above
it, and only what their `__init__` offers.

    errors.py     every error that medscan raises, as one tree
    offline.py    libraries kept off the network
    choices.py    what a user chooses by name: planes, orders, formats
    text.py       text from files made harmless to show
    tables.py     tables of text, as people write them -> rows
    links.py      links from studies to the viewer of a PACS
    schema.py     JSON: checked against a dataclass when read, finite when written
    files.py      files that are whole or not there at all
    logfile.py    log records as JSON lines that carry no identity
    profile.py    where the time of a scan goes
    worker.py     processes that read files which may hang or kill them
    archive/      files on disk -> studies, series, stacks; each file in one bucket
    decoding/     frames of DICOM files -> values after rescale
    imaging/      frames of any file -> slices: oriented, windowed, square
    tiles.py      large slices -> tiles of a tower's input, and their tokens as one grid
    clip/         slices and prompts -> tokens of a frozen tower; weights on this machine
    backbones/    files and names from elsewhere -> backbones on this machine
    parts/        what methods share: adapters, prompts, losses, scoring, memory
    methods/      tokens -> anomaly map and image score; a module per published system
    normals.py    scores of normals -> a detector's threshold
    history.py    what became of a detector after its fit: verdicts, precisions it was tried in
    donors.py     whose images a detector was fitted on, in a private file beside its own
    gate.py       how far a stack lies from what a detector was fitted on
    detector.py   a fitted method in one file: weights, domain, window, calibration
    runtimes/     a detector in memory, computed by PyTorch or by OpenVINO
    metrics/      scores and truth -> AUROC and others, with intervals
    results/      results.h5: what a scan found, and the reader of it
    routing/      what an image says that it is -> the detector that is for it
    outputs.py    outputs that would destroy what is read, or is not medscan's: refused
    options.py    what a scan is asked for, in five groups
    chosen.py     the detectors that a user names, or all that are here
    reading/      stacks -> drawn slices, in worker processes that may die
    scoring/      slices -> scores and maps; slices of a stack -> its result
    planning/     archive and ledger -> what is due, by which detector, and why not
    coverage.py   a plan after its scan -> how many studies have a score, and why others have none
    nights.py     a scan beside the last one -> what got worse
    scanning/     due studies -> results.h5: lock, pipeline, budgets, publication
    cluster/      the same on a Ray cluster
    inspect/      doctor, dry run, shard plan, verify, locate
    shots/        labelled images on disk -> slices with their label, mask and patient
    fitting/      shots -> a detector
    bags/         labels of whole studies -> the slices to fit on, and a detector
    report/       results.h5 -> HTML worklist, CSV, JSON lines
    feedback/     verdicts on results -> a new detector
    inherited/    header of a DICOM image -> what objects made from it carry
    findings/     scores and regions -> measurement groups of a Structured Report
    export/       results.h5 -> DICOM, NIfTI, PNG, tables
    pacs/         how a PACS is talked to
    fetching/     studies of a PACS -> a folder that scans read
    sending/      exported objects -> a PACS
    graph.py      a detector -> an ONNX graph, for other runtimes
    evaluate/     detectors and labelled data -> figures with intervals, and differences
    acceptance/   labelled studies of a site -> whether a detector may be used there
    optimise.py   a detector -> the same, with what lower precisions do to its scores
    monitoring/   history of a site -> whether a detector still does what it did
    scanned.py    a scan, and the files that are written beside its results
    suites/       grids of methods and baselines on several data sets -> one table
    demo/         a drawn head with a lesion, and public files to scan
    api/          the same from Python: what this package offers, see medscan(3)
    cli/          words on a terminal -> one call into the above
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medscan import errors

if TYPE_CHECKING:
    from medscan.api import Detector, Results, Scores, Study, fit, open_results, scan

__version__ = "0.1.0"

__all__ = [
    "Detector",
    "Results",
    "Scores",
    "Study",
    "errors",
    "fit",
    "open_results",
    "scan",
]


def __getattr__(name: str) -> Any:
    """Load the interface when one of its names is used: the import alone costs nothing."""
    if name in __all__:
        return getattr(import_module("medscan.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
