"""A patient whose images a detector was fitted on is none to measure it on, wherever they lie."""

import logging
from dataclasses import replace

import pytest

from medscan import detector as detectors
from medscan.errors import UsageError
from medscan.evaluate.run import unseen_items
from medscan.fitting import fit
from tests import tiny


def write(folder, patients, kind, split):
    """A data set of a slice or two a patient, who is stated by DICOM, BIDS names or a column."""
    rows = ["path,label,patient,split"]
    for number, patient in enumerate(patients):
        volume, label = tiny.head_volume(number + 10 * (split == "test"), 2), number % 2
        if kind == "dicom":
            tiny.write_series(folder / str(number), volume, PatientID=patient)
            names = [f"{number}/000{z}" for z in range(2)]
        else:
            stem = f"sub-{patient}/anat/sub-{patient}_T1w" if kind == "bids" else f"{split}{number}"
            names = [f"set/{stem}.png"]
            tiny._save(folder / names[0], volume[:, :, 0] / 1000)
        column = patient if kind == "column" else ""
        rows += [f"{name},{label},{column},{split}" for name in names]
    (folder / "m.csv").write_text("\n".join(rows) + "\n")
    return folder / "m.csv"


@pytest.fixture(params=["dicom", "bids", "column"])
def seen(request, tmp_path, options):
    """A saved detector, and other images: of two patients who gave shots and of two who did not."""
    old = write(tmp_path / "old", ["A", "B", "C", "D"], request.param, "train")
    new = write(tmp_path / "new", ["A", "C", "E", "F"], request.param, "test")
    path = tmp_path / "d.safetensors"
    made, method = fit(old, replace(options, shots=2, folds=0))
    made.save(path, method)
    return path, new


def test_other_images_of_a_patient_who_gave_shots_end_the_command(seen):
    path, new = seen
    with pytest.raises(UsageError, match="2 patients of the test split gave shots to d"):
        unseen_items(new, [detectors.read(path)], "test")
    left = unseen_items(new, [detectors.read(path)], "rest")
    assert len({item.patient for item in left}) == 2


def test_the_detector_itself_tells_nobody_and_its_bytes_stay_the_same(seen, options, tmp_path):
    path, _ = seen
    assert b"donors" not in path.read_bytes()
    other = tmp_path / "other.safetensors"
    made, method = fit(tmp_path / "old" / "m.csv", replace(options, shots=2, folds=0))
    made.save(other, method)
    assert other.read_bytes() == path.read_bytes()


def test_without_the_file_beside_it_that_is_said(seen, caplog):
    path, new = seen
    path.with_name("d.safetensors.patients").unlink()
    with caplog.at_level(logging.WARNING, "medscan.evaluate"):
        assert len({i.patient for i in unseen_items(new, [detectors.read(path)], "test")}) == 4
    assert "whose images d was fitted on is not known here" in caplog.text
