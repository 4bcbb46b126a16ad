import dataclasses

from medscan.choices import Plane
from medscan.shots import read_items, whole_stacks
from tests import tiny


def found(data, items=None):
    stacks = whole_stacks(items or read_items(data), Plane.AXIAL)
    return [(one.patient, [slot.item.name for slot in one.slots]) for one in stacks]


def test_a_normal_volume_is_a_whole_stack_and_a_picture_is_none(tmp_path):
    data = tiny.write_pictures(tmp_path, patients=2)
    (data / "cases.csv").unlink(missing_ok=True)
    for seed, label in enumerate(("normal", "abnormal")):
        tiny.write_nifti(data / label / f"{label}_v7.nii.gz", tiny.head_volume(seed, slices=3))
    names = [f"normal/normal_v7.nii.gz#{n}" for n in range(3)]
    assert found(data) == [("normal_v7", names)]


def test_a_series_is_whole_if_every_file_of_it_is_labelled_normal(tmp_path):
    for label, seed in (("normal", 0), ("abnormal", 1)):
        series = tiny.write_series(tmp_path / "series", tiny.head_volume(seed))
        (tmp_path / label).mkdir()
        for n, file in enumerate(sorted(series.iterdir())):
            file.rename(tmp_path / label / f"{n}.dcm")
    items = read_items(tmp_path)
    names = [item.name for item in items if not item.label]
    assert [sorted(slices) for _, slices in found(tmp_path)] == [names]
    first = next(item for item in items if not item.label)
    picked = [dataclasses.replace(i, typical=i is not first) for i in items]
    assert found(tmp_path, picked) == []
    assert found(tmp_path, [item for item in items if item is not first]) == []
