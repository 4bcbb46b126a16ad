"""Labelled DICOM files: the patient that they state, and the window of their series."""

import csv

import numpy as np
import pytest
import torch

from medscan import detector as detectors
from medscan import results
from medscan.errors import UsageError
from medscan.evaluate.run import slices_of
from medscan.scanning import scan
from medscan.shots.data import read_items
from medscan.shots.patients import patient_of
from medscan.shots.shots import draw_shots, stream_slices
from tests import tiny
from tests.options import changed


def write_manifest(folder, rows, columns=("path", "label", "split", "patient")):
    path = folder / "m.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


@pytest.fixture
def series(tmp_path):
    """Series of three patients, six slices each; only the files say whose they are."""
    for number in range(3):
        volume = tiny.head_volume(number, slices=6)
        volume = (volume * np.linspace(0.3, 1.7, 6)).astype(volume.dtype)
        tiny.write_series(
            tmp_path / "data" / str(number), volume, study=f"1.{number}", PatientID=f"P{number}"
        )
    return tmp_path / "data"


def rows_of(series, split=lambda number, z: "train", patient=lambda number, z: ""):
    for number in range(3):
        files = sorted((series / str(number)).iterdir())
        for z, file in enumerate(files):
            label = "abnormal" if number == 2 else "normal"
            yield file.relative_to(series), label, split(number, z), patient(number, z)


def test_the_file_says_who_the_patient_is(series):
    items = read_items(write_manifest(series, rows_of(series)))
    assert len(items) == 18
    assert len({item.patient for item in items}) == 3
    assert not any("P0" in item.patient for item in items), "no identity leaves the file"


def test_studies_that_share_an_id_of_nobody_are_of_different_patients(tmp_path, caplog):
    for number in range(2):
        tags = {"StudyInstanceUID": f"1.{number}", "PatientID": "ANONYMOUS"}
        tiny.write_series(tmp_path / str(number), tiny.head_volume(number, 2), **tags)
    rows = [(f"{n}/000{z}", "normal", ("train", "test")[n], "") for n in range(2) for z in range(2)]
    assert len(read_items(write_manifest(tmp_path, rows), divides=False)) == 2
    assert len({item.patient for item in read_items(write_manifest(tmp_path, rows), "test")}) == 1
    assert "2 studies have no PatientID of their own, and each counts as of another" in caplog.text
    caplog.clear()
    same = [(*row[:3], "one") for row in rows]
    with pytest.raises(UsageError, match="patients are in both splits"):
        read_items(write_manifest(tmp_path, same), divides=False)
    assert caplog.text == ""


def test_a_split_within_a_patient_is_refused(series):
    odd = write_manifest(series, rows_of(series, lambda _, z: ("train", "test")[z % 2]))
    with pytest.raises(
        UsageError, match="3 patients are in both splits: 0/0004 and 0/0005 are of one"
    ):
        read_items(odd, divides=False)
    assert len(read_items(odd, "test")) == 9
    whole = write_manifest(series, rows_of(series, lambda n, _: ("train", "test")[n % 2]))
    assert len(read_items(whole, divides=False)) == 12


def test_files_of_one_patient_listed_as_of_two_are_refused(series):
    rows = rows_of(series, patient=lambda number, z: f"{number}-{z}")
    with pytest.raises(
        UsageError,
        match="0/0000 is said to be of patient 0-0, and 0/0001 of 0-1, but by their PatientID",
    ):
        read_items(write_manifest(series, rows))


def test_a_listed_patient_counts_for_every_file_that_states_the_same(series):
    rows = rows_of(series, patient=lambda number, z: "first" if (number, z) == (0, 0) else "")
    items = read_items(write_manifest(series, rows))
    assert sum(item.patient == "first" for item in items) == 6
    everyone = rows_of(series, patient=lambda number, z: "all")
    assert {item.patient for item in read_items(write_manifest(series, everyone))} == {"all"}


def test_without_a_patient_id_the_study_counts(tmp_path):
    for number in range(2):
        folder = tmp_path / str(number)
        tiny.write_series(folder, tiny.head_volume(number, 2), study=f"1.{number}", PatientID="")
    rows = [
        (file.relative_to(tmp_path), "normal", "train", "")
        for number in range(2)
        for file in sorted((tmp_path / str(number)).iterdir())
    ]
    items = read_items(write_manifest(tmp_path, rows))
    assert len({item.patient for item in items}) == 2


@pytest.mark.parametrize(
    ("path", "patient"),
    [
        ("sub-01_ses-1_FLAIR.nii.gz", "sub-01"),
        ("sub-01_ses-2_FLAIR.nii.gz", "sub-01"),
        ("data/sub-A7/ses-1/anat/T1w.nii", "sub-A7"),
        ("data/subject/00003_60.png", "00003"),
    ],
)
def test_bids_names(path, patient, tmp_path):
    assert patient_of(tmp_path / path) == patient


def test_a_labelled_slice_is_windowed_with_its_series(series, detector_file, options):
    """Scores of fit and evaluate are those of a scan of the same files."""
    fitted = detectors.read(detector_file)
    method = fitted.load_method(detector_file, fitted.load_backbone(device="cpu", precision="fp32"))
    items = read_items(write_manifest(series, rows_of(series)))
    scores = {}
    for labelled in slices_of(fitted.domain.plane, fitted.window, method.backbone.size, items):
        score, _ = method.predict(torch.from_numpy(np.array(labelled.image))[None])
        scores[labelled.item.path.resolve()] = float(score[0])
    scan(changed(options, roots=(series,), identify=True, batch_size=1))
    compared = 0
    for study in results.open(options.outputs.out).studies():
        for stack in study.stacks:
            for path, score in zip(stack.path, stack.slice_score, strict=True):
                if np.isfinite(score):
                    assert scores[(series / path).resolve()] == pytest.approx(score, abs=1e-5)
                    compared += 1
    assert compared == 18


def test_a_series_in_two_folders_is_one(tmp_path):
    files = sorted(tiny.write_series(tmp_path / "all", tiny.head_volume(1, 6)).iterdir())
    for z, file in enumerate(files):
        folder = tmp_path / "data" / ("abnormal" if z % 2 else "normal")
        folder.mkdir(parents=True, exist_ok=True)
        file.rename(folder / file.name)
    items = read_items(tmp_path / "data")
    assert {len(item.sources[0].stack.frames) for item in items} == {6}
    slices = list(stream_slices(items, size=32, window="auto", plane=None))
    assert sorted(s.item.label for s in slices) == [0, 0, 0, 1, 1, 1]
    assert not any("#" in s.item.name for s in slices)


def test_shots_are_drawn_from_as_many_patients_as_there_are(series):
    items = read_items(write_manifest(series, rows_of(series)))
    shots = draw_shots(items, 2, 0, size=32, window="auto", plane=None)
    normal = shots.patients[shots.labels == 0].tolist()
    assert len(set(normal)) == 2
