"""The benchmark of study labels, on a few drawn images."""

from medscan.fitting import FitOptions
from tests import tiny
from tests.benchmarks.study_labels import measure, read_cases, studies_of


def test_it_measures_labels_of_studies_slices_and_masks(tmp_path, backbone_folder):
    data = tiny.write_pictures(tmp_path / "data", patients=3, each=2, tests=2)
    options = FitOptions(
        method="discriminant", backbone=f"local-dir:{backbone_folder}", folds=0, shots=2
    )
    found = measure(data, "", [2], [0], options)
    assert sorted(found) == [(2, "masks"), (2, "slices"), (2, "studies")]
    assert all(0 <= value <= 1 for values in found.values() for value in values)


def test_studies_are_of_different_patients_and_no_test_patient_is_among_them(tmp_path):
    data = tiny.write_pictures(tmp_path / "data", patients=3, each=2, tests=2)
    cases = read_cases(data, "")
    studies = studies_of(cases["train"], 3, 0)
    assert [study.label for study in studies] == [0] * 3 + [1] * 3
    patients = {item.patient for study in studies for item in study.items}
    assert len(patients) == 6
    assert patients.isdisjoint(item.patient for item in cases["test"])
