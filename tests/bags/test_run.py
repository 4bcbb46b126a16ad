"""A detector from labels of studies alone, and what is refused on the way."""

import numpy as np
import pytest

from medscan import detector
from medscan.bags import StudyOptions, Watcher, fit_studies
from medscan.clip import read_header
from medscan.detector import Domain
from medscan.errors import UsageError
from medscan.fitting import FitOptions
from tests import tiny

from .conftest import uid, write_labels, write_study


@pytest.fixture
def fit(archive, labels, backbone_folder):
    def run(told=None, roots=(archive,), table=labels, **more):
        options = FitOptions(
            **{"shots": 4, "method": "patchcore", "backbone": f"local-dir:{backbone_folder}"} | more
        )
        watcher = Watcher(told.append) if told is not None else None
        return fit_studies(StudyOptions(roots, table), options, None, watcher)

    return run


def test_a_detector_from_labels_of_studies(fit, tmp_path):
    told = []
    fitted, method = fit(told, method="discriminant")
    assert told == [
        "fitting on BRAIN FLAIR MR axial, window auto",
        "read 4 normal and 4 abnormal studies; fitting on 16 normal and 16 abnormal slices",
    ]
    saved = fitted.save(tmp_path / "d.safetensors", method)
    again = detector.read(tmp_path / "d.safetensors")
    assert again.domain == Domain("MR", "BRAIN", "FLAIR", "axial")
    assert [len(names) for names in saved.shots.values()] == [16, 16]
    assert all(name.startswith("study:") for names in saved.shots.values() for name in names)
    assert len(again.fingerprints) == 36, "all slices of normal studies, some of the others"
    assert [len(scores) for scores in again.calibration.stacks] == [5] * 4
    facts = str(read_header(tmp_path / "d.safetensors").metadata)
    assert not any(text in facts for text in (uid(1), uid(5), "P1", "/s1/"))


def test_the_same_table_in_any_order_gives_the_same_detector(fit, tmp_path, labels):
    rows = labels.read_text().splitlines()
    turned = write_labels(tmp_path / "turned.csv", "\n".join(reversed(rows[1:])))
    files = []
    for name, table in (("a", labels), ("b", turned)):
        fitted, method = fit(table=table, method="discriminant", shots=3)
        files.append(fitted.save(tmp_path / f"{name}.safetensors", method).digest)
    assert files[0] == files[1]


def test_normal_slices_lie_at_all_heights(fit):
    fitted, _ = fit()
    heights = [int(name.rpartition("#")[2]) for name in fitted.shots["normal"]]
    assert set(heights) >= {1, 5}
    assert len(heights) == 16


def test_slices_that_a_row_names_are_taken_as_they_are(fit, tmp_path):
    rows = "".join(f"{uid(n)},{'4,abnormal' if n > 4 else ',normal'}\n" for n in range(1, 9))
    table = write_labels(tmp_path / "slices.csv", rows, "study,slice,label")
    fitted, _ = fit(table=table, method="discriminant")
    assert [name.rpartition("#")[2] for name in fitted.shots["abnormal"]] == ["4"] * 4


def test_normal_studies_without_shots_are_calibrated_on_too(fit):
    fitted, _ = fit(shots=2)
    assert len(fitted.shots["normal"]) == 8
    assert (fitted.calibration.patients, len(fitted.calibration.stacks)) == (4, 4)


def test_a_slice_that_cannot_be_read_is_left_out_and_counted(fit, tmp_path):
    root = tmp_path / "broken"
    for number in (1, 2, 3):
        write_study(root, number, lesion=False)
    file = root / "s1" / "0002"
    file.write_bytes(file.read_bytes()[:-600])
    rows = "".join(f"{uid(n)},normal\n" for n in (1, 2, 3))
    told = []
    fitted, _ = fit(told, roots=(root,), table=write_labels(tmp_path / "t.csv", rows), shots=3)
    assert "3 normal" in told[-1]
    assert sorted(len(scores) for scores in fitted.calibration.stacks) == [4, 5, 5]


def test_of_many_studies_only_some_give_slices(fit, monkeypatch):
    monkeypatch.setattr("medscan.bags.choose.MOST", 3)
    fitted, _ = fit(method="discriminant")
    assert [len(names) for names in fitted.shots.values()] == [3, 3]
    normal = [name.rpartition("#")[0] for name in fitted.shots["normal"]]
    assert len(set(normal)) == 3


def test_more_studies_than_there_are_labels_for(fit):
    with pytest.raises(UsageError, match="5 normal studies were asked for, but there are 4"):
        fit(shots=5)


def test_a_method_that_learns_from_normals_needs_some(fit, tmp_path):
    table = write_labels(tmp_path / "ill.csv", f"{uid(5)},abnormal\n")
    with pytest.raises(UsageError, match="1 normal studies were asked for, but there are 0"):
        fit(table=table, shots=1)


def test_zero_shot_is_not_for_studies(fit):
    with pytest.raises(UsageError, match="not for --labels"):
        fit(zero_shot=True, source_organs=("x",))


def test_a_slice_that_a_stack_does_not_have(fit, tmp_path):
    table = write_labels(tmp_path / "slices.csv", f"{uid(1)},9,normal\n", "study,slice,label")
    with pytest.raises(UsageError, match="line 2: there is no slice 9, but 5 slices"):
        fit(table=table, shots=1)


@pytest.fixture
def mixed(tmp_path):
    """A T1 and a FLAIR series in each of two normal studies."""
    root = tmp_path / "mixed"
    for number in (1, 2):
        for kind in ("FLAIR", "T1"):
            folder = root / f"{number}{kind}"
            volume = tiny.head_volume(number)
            tiny.write_series(folder, volume, study=uid(number), description=kind)
    return root


def test_mixed_studies_are_refused_with_what_to_add(fit, tmp_path, mixed):
    table = write_labels(tmp_path / "two.csv", f"{uid(1)},normal\n{uid(2)},normal\n")
    with pytest.raises(UsageError, match="mixed: by sequence, FLAIR in 2, T1 in 2; say"):
        fit(roots=(mixed,), table=table, shots=2)
    fitted, _ = fit(roots=(mixed,), table=table, shots=2, domain=Domain(sequence="T1"))
    assert fitted.domain == Domain("MR", "BRAIN", "T1", "axial")
    with pytest.raises(UsageError, match="no labelled study has an image of CT"):
        fit(roots=(mixed,), table=table, shots=2, domain=Domain(modality="CT"))


def test_studies_of_another_kind_are_left_out_and_counted(fit, tmp_path, archive):
    other = tmp_path / "other"
    write_study(other, 9, lesion=False, Modality="CT", SeriesDescription="CCT")
    rows = "".join(f"{uid(n)},normal\n" for n in (1, 2, 9))
    table = write_labels(tmp_path / "three.csv", rows)
    told = []
    fit(told, roots=(archive, other), table=table, shots=2, domain=Domain(modality="MR"))
    assert "left out: 1 studies without an image of BRAIN FLAIR MR axial" in told


def test_normal_studies_that_show_nothing_are_refused(fit, tmp_path):
    root = tmp_path / "black"
    for number in (1, 2):
        tiny.write_series(root / str(number), np.zeros((16, 16, 3), np.int16), study=uid(number))
    table = write_labels(tmp_path / "two.csv", f"{uid(1)},normal\n{uid(2)},normal\n")
    with pytest.raises(UsageError, match="no slice of the normal studies can be used"):
        fit(roots=(root,), table=table, shots=2)


def test_without_a_number_all_studies_are_fitted_on_up_to_a_bound(fit, monkeypatch):
    told = []
    fitted, _ = fit(told, method="discriminant", shots=None, folds=0)
    assert "without --shots: all 4 normal studies and all 4 abnormal studies" in told
    assert [len(names) for names in fitted.shots.values()] == [16, 16]
    monkeypatch.setattr("medscan.bags.run.STUDIES", 3)
    told.clear()
    fitted, _ = fit(told, method="discriminant", shots=None, folds=0)
    assert "without --shots: 3 of 4 normal studies and 3 of 4 abnormal studies" in told
