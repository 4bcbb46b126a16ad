import csv
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medscan.detector import Domain
from medscan.errors import UsageError
from medscan.evaluate import EvaluateOptions, evaluate
from medscan.evaluate.observe import Observations, Truth
from medscan.evaluate.run import _common, judge_on_test, unseen_items
from medscan.fitting import FitOptions, fit
from medscan.shots import Item
from tests import tiny


def moved(data, folder, patient, split):
    """The same data with all of a patient's cases in another split."""
    rows = csv.DictReader((data / "cases.csv").read_text().splitlines())
    lines = [
        f"{r['case']},{r['patient']},{split if r['patient'] == patient else r['split']}"
        for r in rows
    ]
    for part in ("normal", "abnormal", "masks"):
        (folder / part).mkdir(parents=True)
        for path in (data / part).iterdir():
            (folder / part / path.name).symlink_to(path)
    (folder / "cases.csv").write_text("\n".join(["case,patient,split", *lines]) + "\n")
    return folder


def test_a_detector_file_is_measured_on_the_test_split(detector_path, data, fitted):
    told = []

    def progress(slices, files):
        told.append(files)
        return slices

    options = EvaluateOptions(draws=0)
    measured = evaluate([detector_path], data, options, progress)
    [evaluation] = measured.evaluations
    assert measured.detectors[0].name == "bank"
    assert told == [16]
    assert {r[1] for r in evaluation.rows} == {
        f"{label}{n}" for label in ("normal", "abnormal") for n in range(4, 8)
    }
    assert evaluate([detector_path], data, options).evaluations[0].rows == evaluation.rows


def test_detectors_that_cut_other_slices_are_not_compared(fitted, handmade):
    item = Item("a.nii.gz", Path("a.nii.gz"), 0, "p")
    truth = Truth("a.nii.gz#3", "p", "a.nii.gz", 0, None, (0, 0, 4, 4))
    seen = Observations(4, truths=[truth])
    other = replace(fitted[0], domain=Domain(plane="axial"))
    with pytest.raises(UsageError, match="different planes"):
        _common([fitted[0], other], [item], [seen, seen])
    assert _common([fitted[0]] * 2, [item], [seen, seen]) is None
    nothing = Observations(4, truths=[replace(truth, name="b.png")])
    with pytest.raises(UsageError, match="more than background"):
        _common([fitted[0]] * 2, [item], [seen, nothing])


def test_what_one_detector_takes_for_background_is_left_out_for_all(fitted, caplog):
    item = Item("a.png", Path("a.png"), 0, "p")
    truths = [Truth(name, "p", "p", 0, None, (0, 0, 4, 4)) for name in ("a.png", "b.png")]
    seen = [Observations(4, truths=truths), Observations(4, truths=truths[:1])]
    with caplog.at_level(logging.WARNING, "medscan.evaluate"):
        assert _common([fitted[0]] * 2, [item], seen) == {"a.png"}
    assert "1 of 2 slices are background" in caplog.text


def test_a_patient_on_both_sides_is_refused_or_warned_of(data, fitted, tmp_path, caplog):
    detector = fitted[0]
    shot = detector.shots["normal"][0].removeprefix("normal/normal_p").partition("_")[0]
    both = moved(data, tmp_path / "both", f"normal{shot}", "test")
    with pytest.raises(UsageError, match="1 patients of the test split gave shots to"):
        unseen_items(both, [detector], "test")
    assert len(unseen_items(data, [detector], "test")) == 16
    with caplog.at_level(logging.WARNING, "medscan.evaluate"):
        assert len(unseen_items(both, [detector], "test", strict=False)) == 18
    assert "optimistic" in caplog.text


def test_the_rest_is_everyone_who_gave_no_shot(data, fitted):
    shots = {"normal": ["normal/normal_p0_1.png"], "abnormal": []}
    few = replace(fitted[0], shots=shots, fingerprints=())
    rest = unseen_items(data, [few], "rest")
    assert {i.patient for i in rest} == {
        f"{label}{n}" for label in ("normal", "abnormal") for n in range(8)
    } - {"normal0"}
    assert [i.name for i in rest] == sorted(i.name for i in rest)
    everyone = replace(few, shots={"normal": [i.name for i in rest] + few.shots["normal"]})
    with pytest.raises(UsageError, match="every patient gave a shot"):
        unseen_items(data, [everyone], "rest")


@pytest.mark.parametrize("below", ["", "labelled/"])
@pytest.mark.parametrize("name", ["normal/a#1.png", "normal/head.nii.gz", "normal/b#2"])
def test_without_fingerprints_shots_are_known_by_whole_files_and_slices(
    tmp_path, fitted, name, below
):
    folder = tmp_path / "labelled"
    for label in ("normal", "abnormal"):
        (folder / label).mkdir(parents=True)
    (folder / name).write_bytes(bytes(128) + b"DICM")  # a file without a suffix must look like one
    for shot in (name, f"{name}#3"):
        detector = replace(
            fitted[0], shots={"normal": [below + shot], "abnormal": []}, fingerprints=()
        )
        with pytest.raises(UsageError, match="every patient gave a shot"):
            unseen_items(folder, [detector], "rest")
    # Another data set's shot of the same name is none of this one's.
    detector = replace(
        fitted[0], shots={"normal": [f"other/{name}"], "abnormal": []}, fingerprints=()
    )
    assert len(unseen_items(folder, [detector], "rest")) == 1


def test_a_shot_is_known_whatever_its_file_is_called(tmp_path, data, fitted):
    """The same picture under another name is the same patient's; the same name alone is not."""
    shot = fitted[0].shots["normal"][0]
    for folder in ("copy", "other"):
        (tmp_path / folder / "normal").mkdir(parents=True)
        (tmp_path / folder / "abnormal").mkdir()
    (tmp_path / "copy" / "normal" / "renamed_1.png").write_bytes((data / shot).read_bytes())
    (tmp_path / "other" / shot).write_bytes(b"something else")
    with pytest.raises(UsageError, match="every patient gave a shot"):
        unseen_items(tmp_path / "copy", [fitted[0]], "rest")
    assert len(unseen_items(tmp_path / "other", [fitted[0]], "rest")) == 1


def test_without_a_test_split_one_is_asked_for(pictures, fitted):
    with pytest.raises(UsageError, match="--split rest"):
        unseen_items(pictures, [fitted[0]], "test")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "train"}, "choose test or rest"),
        ({"protocol": "dirty"}, "choose clean or paper"),
        ({"draws": -1}, "must be 0 or more"),
        ({"seed": -1}, "must be 0 or more"),
    ],
)
def test_wrong_options_are_refused(detector_path, data, wrong, message):
    with pytest.raises(UsageError, match=message):
        evaluate([detector_path], data, EvaluateOptions(**wrong))


def test_only_background_is_nothing_to_measure(detector_path, tmp_path):
    for label in ("normal", "abnormal"):
        tiny._save(tmp_path / label / f"{label}.png", np.zeros((40, 40)))
    with pytest.raises(UsageError, match="background"):
        evaluate([detector_path], tmp_path, EvaluateOptions(split="rest"))


def test_volumes_are_studies_whose_masks_label_slices(tmp_path, options):
    rng = np.random.default_rng(0)
    rows = ["case,patient,split"]
    for label in ("normal", "abnormal"):
        for patient in range(4):
            planes = [tiny.phantom(rng, lesion=label == "abnormal" and k == 2) for k in range(4)]
            name = f"{label}{patient}"
            volume = np.stack([p for p, _ in planes], -1)
            tiny.write_nifti(tmp_path / label / f"{name}.nii.gz", (volume * 100).astype(np.int16))
            rows.append(f"{name},{name},{'train' if patient < 2 else 'test'}")
            if label == "abnormal":
                mask = np.stack([m for _, m in planes], -1).astype(np.uint8)
                tiny.write_nifti(tmp_path / "masks" / f"{name}.nii.gz", mask)
    (tmp_path / "cases.csv").write_text("\n".join(rows) + "\n")
    detector, method = fit(tmp_path, replace(options, shots=2))
    path = tmp_path / "volumes.safetensors"
    detector.save(path, method)
    [found] = evaluate([path], tmp_path, EvaluateOptions(draws=0)).evaluations
    assert (found.slices.normals, found.slices.abnormals) == (14, 2)
    assert (found.studies.normals, found.studies.abnormals) == (2, 2)
    assert (found.pixels.slices, found.pixels.regions) == (16, 2)
    assert {r[0] for r in found.rows if r[2]} == {f"abnormal/abnormal{n}.nii.gz#2" for n in (2, 3)}
    assert found.slices.patients == 4


def test_the_test_set_may_choose_the_epoch_only_as_published(tmp_path, backbone_folder):
    data = tiny.write_pictures(tmp_path, patients=3, tests=2)
    backbone = f"local-dir:{backbone_folder}"
    clean = FitOptions(method="mvfa", backbone=backbone, shots=2, folds=0)
    with pytest.raises(UsageError, match="only for --protocol paper"):
        judge_on_test(data, clean)
    settings = {"epochs": 2, "size": None}
    options = replace(clean, protocol="paper", settings=settings)
    seen = []

    def judge(method):
        seen.append(real(method))
        return seen[-1]

    real = judge_on_test(data, options)
    detector, _ = fit(data, options, judge=judge)
    assert detector.selection == "test"
    assert len(seen) == 2
    assert all(0 <= value <= 2 for value in seen)
