"""results.h5 -> files for other programs: NIfTI, BIDS, DICOM, PNG, CSV ...; a detector -> ONNX."""

from __future__ import annotations

from importlib import import_module

from medscan.export.job import Exporter, ExportJob, LeftOut

FORMATS = {
    "nifti": "nifti",
    "bids": "bids",
    "dicom-pm": "parametric_map",
    "dicom-seg": "segmentation",
    "dicom-sc": "capture",
    "dicom-sr": "structured_report",
    "png": "pictures",
    "npz": "arrays",
    "csv": "slices",
}
"""Module whose `export` writes a format, by the name that `medscan export --to` takes."""


def exporter(name: str) -> Exporter:
    """Return the function that writes a format; only its own libraries are loaded."""
    export: Exporter = import_module(f"medscan.export.{FORMATS[name]}").export
    return export


__all__ = ["FORMATS", "ExportJob", "LeftOut", "exporter"]
