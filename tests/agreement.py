"""What evaluate and scan say of the same files."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from medscan import detector, results
from medscan.detector import Domain
from medscan.evaluate import EvaluateOptions, evaluate
from medscan.results import State
from medscan.scanning import scan
from tests.options import changed

Scores = dict[str, float]
"""Scores by path below the root and, of a file with several frames, `#` and the frame."""


def for_anything(detector_file: Path, backbone, path: Path, plane: str = "", window="auto") -> Path:
    """The same detector for images of any kind."""
    fitted = detector.read(detector_file)
    method = fitted.load_method(detector_file, backbone)
    replace(fitted, domain=Domain(plane=plane), window=window, fingerprints=()).save(path, method)
    return path


def evaluated(path: Path, root: Path, files: Iterable[str], manifest: Path) -> Scores:
    """Scores by `medscan evaluate`, every file being a normal test image."""
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(("path", "label", "split"))
        rows.writerows((root / file, "normal", "test") for file in files)
    [evaluation] = evaluate([path], manifest, EvaluateOptions(draws=0)).evaluations
    below = f"{root}/"
    return {row[0].removeprefix(below): row[3] for row in evaluation.rows}


def scanned(path: Path, root: Path, options) -> tuple[Scores, set[str]]:
    """Scores by `medscan scan` of the whole root, by both names that evaluate may give.

    And the files that have a slice which cannot be read.
    """
    detectors = ((path, detector.read(path)),)
    scan(changed(options, roots=(root,), detectors=detectors, identify=True, batch_size=8))
    scores, broken = {}, set()
    for study in results.open(options.outputs.out).studies():
        for stack in study.stacks:
            failed = stack.state == State.FAILED
            broken |= {file for file, fails in zip(stack.path, failed, strict=True) if fails}
            each = zip(stack.path, stack.frame, stack.slice_score, strict=True)
            for file, frame, score in each:
                if np.isfinite(score):
                    scores[f"{file}#{frame}"] = float(score)
    firsts = [name for name in scores if name.endswith("#0")]
    return scores | {name.removesuffix("#0"): scores[name] for name in firsts}, broken
