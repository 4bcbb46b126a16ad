"""The benchmark of study labels, on a few drawn images."""

import torch

from medscan.fitting import FitOptions
from medscan.methods import build, settings_of
from tests import tiny
from tests.benchmarks.study_labels import measure, once, read_cases, studies_of


def test_it_measures_labels_of_studies_slices_and_masks(tmp_path, backbone_folder):
    data = tiny.write_pictures(tmp_path / "data", patients=3, each=2, tests=2)
    options = FitOptions(
        method="discriminant", backbone=f"local-dir:{backbone_folder}", folds=0, shots=2
    )
    found = measure(data, "", [2], [0], options)
    assert sorted(found.scores) == [(2, "masks"), (2, "slices"), (2, "studies")]
    aurocs = found.aurocs()
    assert all(0 <= value <= 1 for values in aurocs.values() for value in values)
    for (count, kind), apart in found.differences().items():
        assert apart.value == aurocs[count, "studies"][0] - aurocs[count, kind][0]
        assert apart.low <= apart.value <= apart.high


def test_images_that_draws_share_are_encoded_once(backbone):
    method = build("discriminant", backbone, "", settings_of("discriminant"), masked=False)
    images, seen = torch.rand(3, 3, 64, 64), []

    def prepare(method, images):
        seen.append(len(images))
        return method.prepare(images)

    shared = once(prepare)
    shared(method, images[:2])
    assert torch.equal(shared(method, images), method.prepare(images))
    assert seen == [2, 1]


def test_studies_are_of_different_patients_and_no_test_patient_is_among_them(tmp_path):
    data = tiny.write_pictures(tmp_path / "data", patients=3, each=2, tests=2)
    cases = read_cases(data, "")
    studies = studies_of(cases["train"], 3, 0)
    assert [study.label for study in studies] == [0] * 3 + [1] * 3
    patients = {item.patient for study in studies for item in study.items}
    assert len(patients) == 6
    assert patients.isdisjoint(item.patient for item in cases["test"])
