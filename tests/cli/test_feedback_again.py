"""Verdicts on what a detector was fitted on already, and on results that have changed since."""

from pathlib import Path

import numpy as np
import pytest

from medscan import detector, results
from medscan.fitting import FitOptions, fit
from tests.edited import edited


@pytest.fixture
def refit(inside, pictures, backbone_folder):
    """Fits a detector on pictures and scans them with it; then runs `medscan refit`."""
    options = FitOptions(
        method="mvfa",
        shots=6,
        backbone=f"local-dir:{backbone_folder}",
        folds=2,
        settings={"epochs": 1},
    )
    made, method = fit(pictures, options)
    made.save(Path("any.safetensors"), method)
    scan = ("scan", pictures, "--detector", "any.safetensors", "--out", "n.h5", "--no-hash-paths")
    assert inside(*scan, "--workers", 0)[0] == 0

    def run(words, *data, parent="any", out="child"):
        keys = {s.info["path"]: s.key for s in results.open("n.h5").studies()}
        rows = "".join(f"{keys[path]},{word}\n" for path, word in words.items())
        Path("d.csv").write_text(f"study,verdict,slice\n{rows}")
        options = ("--results", "n.h5", "--archive", pictures, "--folds", 2)
        data = [word for folder in data for word in ("--data", folder)]
        words = (f"{parent}.safetensors", "d.csv", *options, "--out", f"{out}.safetensors", *data)
        return inside("refit", *words), keys

    return run


def stack(study):
    """Key of its only stack."""
    return results.open("n.h5").study(study).stacks[0].key


def test_what_is_in_the_data_too_is_known_by_the_verdict_alone(refit, pictures):
    """Else a picture would calibrate what has learnt it, or be both normal and abnormal."""
    parent = detector.read(Path("any.safetensors"))
    same, other = parent.shots["normal"][0], parent.shots["abnormal"][0]
    (code, out, err), keys = refit({same: "normal,1", other: "normal,"}, pictures)
    assert (code, err.count("\n")) == (0, 1), err
    assert err.startswith("medscan: this will take about ")
    assert "slices added: 2 normal, 0 abnormal; shots of any kept: 10\n" in out
    child = detector.read(Path("child.safetensors"))
    names = [*child.shots["normal"], *child.shots["abnormal"]]
    assert same not in names
    assert other not in names
    new = {f"results:{keys[path]}/{stack(keys[path])}#1" for path in (same, other)}
    assert new <= set(child.shots["normal"])
    assert set(child.fingerprints) == set(parent.fingerprints)


def test_what_was_not_scored_this_time_is_no_shot(refit, pictures):
    words = {f"normal/normal_p{n}_0.png": "normal," for n in (0, 1)}
    words |= {f"abnormal/abnormal_p{n}_0.png": "abnormal,1" for n in (0, 1)}
    (code, _, err), keys = refit(words)
    assert (code, err.count("\n")) == (0, 1), err
    assert err.startswith("medscan: this will take about ")
    gone = keys["normal/normal_p0_0.png"]
    one = stack(gone)
    with edited("n.h5") as file:
        group = file["studies"][gone][one]
        group["state"][:], group["score"][:], group.attrs["score"] = 1, np.nan, np.nan
    again = {"normal/normal_p2_0.png": "normal,"}
    (code, out, err), _ = refit(again, parent="child", out="grand")
    assert (code, err.count("\n")) == (0, 1), err
    assert err.startswith("medscan: this will take about ")
    assert "shots of child kept: 3, not there: 1" in out
