"""results.h5 -> files of other formats, each for those who work with it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from medscan.export.job import Exporter, ExportJob, Left

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


def export_onnx(path: Path, out: Path, archive: Sequence[Path]) -> str:
    """Write a detector as an ONNX graph; see `medscan.export.graph.export_onnx`."""
    written: str = import_module("medscan.export.graph").export_onnx(path, out, archive)
    return written


__all__ = ["FORMATS", "ExportJob", "Left", "export_onnx", "exporter"]
