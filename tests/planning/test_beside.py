"""A study is scanned again when what lies beside its files says something else."""

import json

from medscan.archive import Pseudonyms, index
from medscan.planning.plan import make_plan
from tests import tiny

PATH = "ds/sub-01/anat/sub-01_FLAIR"


def planned(root):
    key = Pseudonyms(b"key", ("FLAIR",), "(FLAIR|T1)")
    catalogue = index([root], pseudonyms=key)
    return make_plan(catalogue, [], lambda _: None, named=False, identity="", pseudonyms=key)


def content(root):
    (task,) = planned(root)
    return task.content


def archive(tmp_path):
    path = tmp_path / f"{PATH}.nii"
    path.parent.mkdir(parents=True)
    tiny.write_nifti(path, tiny.head_volume(1))
    return path.with_suffix(".json")


def test_a_new_or_changed_sidecar_changes_the_content(tmp_path):
    sidecar = archive(tmp_path)
    contents = [content(tmp_path)]
    for said in ({"EchoTime": 0.1}, {"EchoTime": 0.2}, {"SeriesDescription": "T1"}):
        sidecar.write_text(json.dumps(said))
        contents.append(content(tmp_path))
    (tmp_path / "ds/FLAIR.json").write_text(json.dumps({"RepetitionTime": 9}))
    contents.append(content(tmp_path))
    assert len(set(contents)) == 5


def test_what_is_not_read_of_a_sidecar_changes_nothing(tmp_path):
    sidecar = archive(tmp_path)
    sidecar.write_text(json.dumps({"EchoTime": 0.1}))
    before = content(tmp_path)
    sidecar.write_text(json.dumps({"EchoTime": 0.1, "PatientName": "Doe"}))
    assert content(tmp_path) == before


def test_the_key_of_a_session_depends_on_its_folder_alone(tmp_path):
    archive(tmp_path / "one")
    (alone,) = planned(tmp_path / "one")
    tiny.write_nifti(tmp_path / "one/ds/sub-01/anat/sub-01_ADC.nii", tiny.head_volume(2))
    (both,) = planned(tmp_path / "one")
    archive(tmp_path / "two")
    (other,) = planned(tmp_path / "two")
    assert alone.study.key == both.study.key != other.study.key
