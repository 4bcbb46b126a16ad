"""Whose an image is: the file counts more than its BIDS name, and that more than the table."""

import hashlib
from pathlib import Path

import pytest

from medscan.errors import UsageError
from medscan.shots import read_items
from tests import tiny


def write_manifest(folder, rows):
    path = folder / "m.csv"
    path.write_text("path,label,patient,split\n" + "\n".join(",".join(row) for row in rows) + "\n")
    return path


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def patients(manifest):
    return [item.patient for item in read_items(manifest)]


def test_a_bids_subject_is_one_patient_whatever_its_session(tmp_path):
    names = [f"ds/sub-01/ses-{n}/anat/sub-01_ses-{n}_FLAIR.nii" for n in (1, 2)]
    touch(tmp_path, *names)
    assert patients(write_manifest(tmp_path, [(name, "0", "", "") for name in names])) == [
        "sub-01",
        "sub-01",
    ]
    with pytest.raises(UsageError, match=r"said to be of patient a, and ds/.* of b, but by sub-01"):
        patients(
            write_manifest(tmp_path, [(n, "0", p, "") for n, p in zip(names, "ab", strict=True)])
        )


def test_one_label_in_two_data_sets_means_two_people(tmp_path):
    names = [f"{data}/sub-01/anat/sub-01_T1w.nii" for data in ("one", "two")]
    touch(tmp_path, *names)
    rows = [(name, "0", "", split) for name, split in zip(names, ("train", "test"), strict=True)]
    manifest = write_manifest(tmp_path, rows)
    assert [i.patient for i in read_items(manifest, divides=False)] == ["one/sub-01"]
    rows = [
        (name, "0", "same", split) for name, split in zip(names, ("train", "test"), strict=True)
    ]
    with pytest.raises(UsageError, match="1 patients are in both splits"):
        read_items(write_manifest(tmp_path, rows), divides=False)


@pytest.mark.parametrize("column", [True, False])
def test_a_patient_in_both_splits_is_refused_by_column_and_by_bids_name(tmp_path, column):
    names = ["a.png", "b.png"] if column else ["sub-1_a.png", "sub-1_b.png"]
    touch(tmp_path, *names)
    listed = "P" if column else ""
    rows = [
        (name, "0", listed, split) for name, split in zip(names, ("train", "test"), strict=True)
    ]
    manifest = write_manifest(tmp_path, rows)
    with pytest.raises(UsageError, match=f"{names[0]} and {names[1]} are of one"):
        read_items(manifest, divides=False)
    assert len(read_items(manifest)) == 1


def test_dicom_files_of_one_subject_may_state_several_patient_ids_but_not_the_reverse(tmp_path):
    for folder, patient in (("sub-1/a", "P1"), ("sub-1/b", "P2"), ("sub-2/a", "P3")):
        tiny.write_series(tmp_path / folder, tiny.head_volume(0, 1), PatientID=patient)
    names = [f"{folder}/0000" for folder in ("sub-1/a", "sub-1/b", "sub-2/a")]
    assert patients(write_manifest(tmp_path, [(n, "0", "", "") for n in names])) == [
        "sub-1",
        "sub-1",
        "sub-2",
    ]
    tiny.write_series(tmp_path / "sub-2/b", tiny.head_volume(0, 1), PatientID="P1")
    with pytest.raises(UsageError, match="of patient sub-1, and sub-2/b/0000 of sub-2") as refused:
        patients(write_manifest(tmp_path, [(n, "0", "", "") for n in (*names, "sub-2/b/0000")]))
    assert "P1" not in str(refused.value)


def test_a_copy_of_a_dicom_file_is_the_same_image(tmp_path):
    (file,) = tiny.write_series(tmp_path / "a", tiny.head_volume(0, 1)).iterdir()
    (tmp_path / "a" / "copy").write_bytes(file.read_bytes())
    rows = [("a/0000", "0", "", ""), ("a/copy", "0", "", "")]
    assert [item.name for item in read_items(write_manifest(tmp_path, rows))] == ["a/0000"]
    rows[1] = ("a/copy", "1", "", "")
    with pytest.raises(UsageError, match="a/0000 and a/copy are the same image"):
        read_items(write_manifest(tmp_path, rows))


def test_a_copy_of_a_picture_cannot_have_another_label(tmp_path):
    data = tiny.write_pictures(tmp_path, patients=3)
    original, copy = data / "normal" / "normal_p0_0.png", data / "abnormal" / "x.png"
    copy.write_bytes(original.read_bytes())
    (data / "cases.csv").unlink()
    why = "abnormal/x.png and normal/normal_p0_0.png are the same image, but one is labelled abn"
    with pytest.raises(UsageError, match=why):
        read_items(data)
    copy.write_bytes(original.read_bytes()[:-1] + b"x")
    assert len(read_items(data)) == 7


def test_only_files_of_one_size_and_start_are_read_whole(tmp_path, monkeypatch):
    contents = {"a": b"1" * 9000, "b": b"1" * 9001, "c": b"2" * 9000, "d": b"1" * 8999 + b"2"}
    rows = [(f"{name}.png", "0" if name == "a" else "1", "", "") for name in contents]
    for name, content in contents.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    read, digest = [], hashlib.file_digest

    def watched(stream, name):
        read.append(Path(stream.name).name)
        return digest(stream, name)

    monkeypatch.setattr(hashlib, "file_digest", watched)
    assert len(read_items(write_manifest(tmp_path, rows))) == 4
    assert read == ["a.png", "d.png"]
