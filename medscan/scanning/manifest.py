"""The summary of a scan for programs, as `medscan scan --json` prints it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from medscan import __version__
from medscan.options import DECODERS, Inputs
from medscan.scanning.summary import Summary

LIBRARIES = ("torch", "open_clip_torch", "numpy", "h5py", "nibabel", "safetensors", *DECODERS)


def versions() -> dict[str, str]:
    """Return the versions of medscan, Python and libraries; empty for a library that is missing."""
    installed = {"medscan": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = ""
    return installed


def manifest_of(inputs: Inputs, summary: Summary) -> dict[str, Any]:
    """Return what `medscan scan --json` prints.

    Returns
    -------
    dict
        The fields of `Summary` except the entries, `versions`, and `detectors` with the hashes of
        their files and of their backbones.
    """
    detectors = [
        {
            "name": detector.name,
            "hash": detector.digest,
            "backbone": detector.backbone,
            "backbone_hash": detector.backbone_digest,
        }
        for _, detector in inputs.detectors
    ]
    return summary.as_dict() | {"versions": versions(), "detectors": detectors}
