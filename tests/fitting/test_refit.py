"""Fitting once more, on the shots that a detector was fitted on."""

from dataclasses import replace

import pytest
import torch

from medscan.detector import read
from medscan.errors import UsageError
from medscan.fitting import (
    FitOptions,
    find_shots,
    fit,
    labels_of,
    refit_detector,
    renamed,
    unjudged,
)
from medscan.fitting.calibrate import calibrate
from medscan.fitting.train import prepare
from medscan.methods import build, settings_of
from medscan.shots import Item, LabelledSlice
from medscan.shots.shots import stacked
from medscan.shots.slots import slots_of as slots


def changed(one, **fields):
    return LabelledSlice(replace(one.item, **fields), one.image, one.mask, one.inside)


def test_the_same_shots_give_the_same_detector(detector_file, pictures, backbone):
    parent = read(detector_file)
    shots = find_shots(parent, pictures, backbone.size)
    assert [one.item.name for one in shots] == list(labels_of(parent))
    again, method = refit_detector(parent, backbone, shots, FitOptions(folds=2))
    known = parent.load_method(detector_file, backbone).state_dict()
    assert all(torch.equal(tensor, known[name]) for name, tensor in method.state_dict().items())
    assert again.calibration == parent.calibration
    assert (again.shots, again.fingerprints) == (parent.shots, parent.fingerprints)


def test_a_further_shot_changes_it(detector_file, pictures, backbone):
    parent = read(detector_file)
    shots = find_shots(parent, pictures, backbone.size)
    further = changed(shots[-1], name="results:k/s#3", label=0, patient="results:p", mask=None)
    again, method = refit_detector(parent, backbone, [*shots, further], FitOptions(folds=2))
    assert again.shots["normal"] == [*parent.shots["normal"], "results:k/s#3"]
    known = parent.load_method(detector_file, backbone).state_dict()
    assert not all(torch.equal(t, known[name]) for name, t in method.state_dict().items())
    assert len(again.calibration.normals) == len(parent.calibration.normals) + 1


def test_what_is_judged_is_left_out_and_its_patients_are_one(tmp_path, detector_file, pictures):
    shots = find_shots(read(detector_file), pictures, 64)
    same = [changed(shots[0], patient="a"), changed(shots[1], patient="a"), *shots[2:]]
    copies = [tmp_path / f"{n}.png" for n in range(2)]
    for one, path in zip(same, copies, strict=False):
        path.write_bytes(one.item.path.read_bytes())
    judged = [
        next(slots([Item(f"results:{n}", path, 1, f"results:p{n}")], None))
        for n, path in enumerate(copies)
    ]
    left, names = unjudged(same, judged)
    assert [one.item.name for one in left] == [one.item.name for one in shots[2:]]
    assert names == dict.fromkeys(["a", "results:p0", "results:p1"], "a")
    assert renamed([changed(shots[2], patient="results:p1")], names)[0].item.patient == "a"
    assert renamed(left, names) == left


def test_normals_that_were_picked_out_do_not_calibrate(detector_file, pictures, backbone):
    parent = read(detector_file)
    shots = find_shots(parent, pictures, backbone.size)
    settings = settings_of("mvfa", epochs=1, bank_rows=16)

    def fresh():
        torch.manual_seed(0)
        return build("mvfa", backbone, "Brain", settings, masked=True)

    counts = []
    for typical in (True, False):
        data = stacked([changed(shots[0], typical=typical), *shots[1:]])
        found = calibrate(fresh, prepare(fresh(), data, 0), folds=2, target_fpr=0.05, seed=0)
        counts.append((len(found.normals), len(found.abnormals)))
    assert counts == [(6, 6), (5, 6)]


def test_a_method_without_abnormal_shots_stays_without(
    pictures, backbone, backbone_folder, tmp_path
):
    name = f"local-dir:{backbone_folder}"
    made, method = fit(pictures, FitOptions(shots=4, method="patchcore", backbone=name, folds=2))
    parent = made.save(tmp_path / "normals.safetensors", method)
    shots = find_shots(parent, pictures, backbone.size)
    ill = changed(shots[0], name="results:k/s#3", label=1)
    again, _ = refit_detector(parent, backbone, [*shots, ill], FitOptions(folds=2))
    assert again.shots == parent.shots
    with pytest.raises(UsageError, match="no normal slice for method patchcore"):
        refit_detector(parent, backbone, [ill], FitOptions())


def test_a_method_fitted_at_once_is_refitted_at_once(pictures, backbone, backbone_folder, tmp_path):
    """It looks at what its parent looked at, and a normal that was picked out teaches only."""
    options = FitOptions(
        shots=4,
        method="discriminant",
        backbone=f"local-dir:{backbone_folder}",
        folds=2,
        settings={"view": "foreground"},
    )
    made, method = fit(pictures, options)
    parent = made.save(tmp_path / "parent.safetensors", method)
    shots = find_shots(parent, pictures, backbone.size)
    picked = changed(shots[0], name="results:k/s#3", patient="results:k", typical=False)
    again, _ = refit_detector(parent, backbone, [*shots, picked], FitOptions(folds=2))
    assert again.settings == parent.settings
    assert len(again.shots["normal"]) == 5
    assert (len(again.calibration.normals), len(again.calibration.abnormals)) == (4, 4)
    assert again.calibration.threshold != parent.calibration.threshold
