"""results.h5 -> files of other formats, each for those who work with it."""

from __future__ import annotations

from importlib import import_module

from medscan.export.job import Exporter, Grid, Job, Left, SegType

FORMATS = {
    "nifti": "nifti",
    "dicom-pm": "parametric_map",
    "dicom-seg": "segmentation",
    "dicom-sc": "capture",
    "dicom-sr": "structured_report",
    "png": "pictures",
    "npz": "arrays",
    "csv": "slices",
}
"""By the name that `medscan export --to` takes: the module whose `export` writes it."""


def exporter(name: str) -> Exporter:
    """What writes a format; its libraries are loaded only then."""
    found: Exporter = import_module(f"medscan.export.{FORMATS[name]}").export
    return found


__all__ = ["FORMATS", "Grid", "Job", "Left", "SegType", "exporter"]
