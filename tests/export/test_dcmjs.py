"""Exported objects as dcmjs reads them, and with it viewers in browsers such as OHIF.

Runs where node finds dcmjs: `npm install --prefix FOLDER dcmjs@0.51.1`, and
`NODE_PATH=FOLDER/node_modules` for the tests.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from medscan.choices import SegType
from medscan.results import slice_affines
from medscan.results.maps import on_frame
from tests.export import make
from tests.export.make import exported, multiframe, scanned, single

READER = Path(__file__).with_name("read_with_dcmjs.cjs")


def node(*words):
    command = [shutil.which("node") or "node", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module", autouse=True)
def dcmjs():
    if shutil.which("node") is None or node("-e", "require.resolve('dcmjs')").returncode:
        pytest.skip("needs node, and dcmjs 0.51.1 on NODE_PATH")


@pytest.fixture(scope="module", params=[single, multiframe])
def made(request, tmp_path_factory):
    """Results of oblique slices in a file each, or as frames of one."""
    folder = tmp_path_factory.mktemp("source") / request.param.__name__
    return scanned(request.param(folder, plane="oblique"))


def read(path):
    done = node(READER, path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["study"], found["patient"]) == ("1.2.840.1", "P1")
    return found


def name(uid, number, made):
    """Of a slice, as objects refer to it."""
    return f"{uid} {number + 1}" if made.folder.name == "multiframe" else uid


def maps(made):
    """Patch scores on the pixels of the source, by name of the slice."""
    (stack,) = next(made.results.studies()).stacks
    size = int(stack.info["rows"]), int(stack.info["columns"])
    slices = zip(
        stack.sop_instance_uid, stack.frame, stack.heatmap, stack.grid_to_pixel, strict=True
    )
    return {name(uid, n, made): on_frame(found, turn, *size) for uid, n, found, turn in slices}


def places(made):
    """Where each slice lies, by its name."""
    (stack,) = next(made.results.studies()).stacks
    slices = zip(stack.sop_instance_uid, stack.frame, slice_affines(stack), strict=True)
    return {name(uid, n, made): affine[:3, 3] * (-1, -1, 1) for uid, n, affine in slices}


def check(made, frames, wanted):
    """Every frame that has something is there, of its own slice and at its place."""
    assert {f["source"] for f in frames} == {uid for uid, values in wanted.items() if values.any()}
    for frame in frames:
        pixels = np.reshape(frame["pixels"], (make.ROWS, make.COLUMNS))
        np.testing.assert_allclose(pixels, wanted[frame["source"]], rtol=0, atol=0)
        np.testing.assert_allclose(frame["place"], places(made)[frame["source"]], atol=1e-4)


def test_a_parametric_map(made, tmp_path):
    (path,), _ = exported("dicom-pm", made.job(tmp_path))
    frames = read(path)["frames"]
    assert len(frames) == make.COUNT
    for frame in frames:
        wanted = maps(made)[frame["source"]]
        np.testing.assert_array_equal(np.float32(frame["pixels"]).reshape(wanted.shape), wanted)
        np.testing.assert_allclose(frame["place"], places(made)[frame["source"]], atol=1e-4)


@pytest.mark.parametrize("kind", SegType)
def test_a_segmentation(made, tmp_path, kind):
    job = made.job(tmp_path, seg_type=kind)
    (path,), _ = exported("dicom-seg", job)
    (stack,) = next(made.results.studies()).stacks
    scale = job.scale(stack)
    wanted = {uid: scores >= scale.middle for uid, scores in maps(made).items()}
    if kind is SegType.FRACTIONAL:
        wanted = {uid: np.rint(255 * scale.position(s)) for uid, s in maps(made).items()}
    check(made, read(path)["frames"], wanted)


def test_a_structured_report(made, tmp_path):
    (path,), _ = exported("dicom-sr", made.job(tmp_path))
    groups = read(path)["groups"]
    (stack,) = next(made.results.studies()).stacks
    at = int(np.nanargmax(stack.slice_score))
    assert groups[0]["numbers"][0] == pytest.approx(stack.score, abs=1e-6)
    assert groups[1]["numbers"][0] == pytest.approx(float(np.nanmax(stack.slice_score)), abs=1e-6)
    assert groups[1]["images"] == [name(stack.sop_instance_uid[at], stack.frame[at], made)]
