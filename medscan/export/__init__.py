"""results.h5 -> files of other formats, each for those who work with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from medscan.export.nifti import export_nifti
from medscan.export.slices import export_csv
from medscan.results import Results

EXPORTS: dict[str, Callable[[Results, Path], list[Path]]] = {
    "nifti": export_nifti,
    "csv": export_csv,
}
"""By the name that `medscan export --to` takes: writes into a folder and says what it wrote."""

__all__ = ["EXPORTS", "export_csv", "export_nifti"]
