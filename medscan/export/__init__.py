"""results.h5 -> files for other programs: NIfTI, DICOM, PNG, NumPy, CSV; a detector -> ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from medscan.export.job import Exporter, ExportJob, LeftOut

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
"""Module whose `export` writes a format, by the name that `medscan export --to` takes."""


def exporter(name: str) -> Exporter:
    """Return the function that writes a format; only its own libraries are loaded."""
    export: Exporter = import_module(f"medscan.export.{FORMATS[name]}").export
    return export


def export_onnx(path: Path, out: Path, archive: Sequence[Path]) -> str:
    """Write a detector as an ONNX graph; see `medscan.export.graph.export_onnx`."""
    summary: str = import_module("medscan.export.graph").export_onnx(path, out, archive)
    return summary


__all__ = ["FORMATS", "ExportJob", "LeftOut", "export_onnx", "exporter"]
