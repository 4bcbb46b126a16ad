import pytest
from hypothesis import given
from hypothesis import strategies as st

from medscan.errors import UsageError
from medscan.shots.data import Item, by_patient, read_items
from medscan.shots.patients import patient_of
from tests import tiny


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_with_cases_leave_other_splits_alone(tmp_path):
    data = tiny.write_pictures(tmp_path, patients=3)
    cases = (data / "cases.csv").read_text().replace("p1_0,normal1,train", "p1_0,normal1,test")
    (data / "cases.csv").write_text(cases)
    items = read_items(data)
    assert [i.name for i in items if not i.label] == [
        "normal/normal_p0_0.png",
        "normal/normal_p2_0.png",
    ]
    assert all((i.mask is not None) == bool(i.label) for i in items)
    assert [i.name for i in read_items(data, "test")] == ["normal/normal_p1_0.png"]


def test_rows_of_cases_that_contradict_each_other_are_refused(tmp_path):
    data = tiny.write_pictures(tmp_path, patients=2)
    table = data / "cases.csv"
    before, text = read_items(data), table.read_text()
    table.write_text(f"{text}normal_p1_0,normal1,train\n")
    assert read_items(data) == before, "the same twice"
    for row in ("normal_p1_0,other,train", "normal_p1_0,normal1,test"):
        table.write_text(f"{text}{row}\n")
        with pytest.raises(UsageError, match=r"cases.csv line 6: normal_p1_0 is listed before"):
            read_items(data)


def test_rows_of_cases_without_an_image_are_told(tmp_path, caplog):
    data = tiny.write_pictures(tmp_path, patients=2)
    table = data / "cases.csv"
    before, text = read_items(data), table.read_text()
    assert not caplog.messages
    table.write_text(f"{text}gone,p9,train\ngone2,p9,train\n")
    assert read_items(data) == before
    (said,) = caplog.messages
    assert said.endswith(
        "2 rows of split train name no image in normal/ or abnormal/, such as gone"
    )


def test_litter_beside_images_is_left_out(tmp_path):
    data = tiny.write_pictures(tmp_path, patients=3)
    (data / "cases.csv").unlink()
    before = [item.name for item in read_items(data)]
    (data / "normal" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    (data / "abnormal" / "desktop.ini").write_text("[.ShellClassInfo]\n")
    (data / "normal" / "._normal_p0_0.png").write_bytes(b"\0\5\26\7" + bytes(600))
    assert [item.name for item in read_items(data)] == before
    (data / "normal" / "broken.png").write_text("named like an image: not left out in silence")
    assert len(read_items(data)) == len(before) + 1


def test_bmad_folders_without_their_test(tmp_path):
    touch(
        tmp_path / "train/good/00001_1.png",
        tmp_path / "valid/good/img/00002_5.png",
        tmp_path / "valid/Ungood/img/00003_6.png",
        tmp_path / "valid/Ungood/anomaly_mask/00003_6.png",
        tmp_path / "test/Ungood/img/00004_7.png",
    )
    items = read_items(tmp_path)
    assert [(i.name, i.label, i.patient) for i in items] == [
        ("train/good/00001_1.png", 0, "00001"),
        ("valid/Ungood/img/00003_6.png", 1, "00003"),
        ("valid/good/img/00002_5.png", 0, "00002"),
    ]
    assert items[1].mask == tmp_path / "valid/Ungood/anomaly_mask/00003_6.png"
    assert [i.name for i in read_items(tmp_path, "test")] == ["test/Ungood/img/00004_7.png"]


def test_manifests(tmp_path):
    touch(tmp_path / "a.png", tmp_path / "b.png", tmp_path / "b_mask.png")
    manifest = tmp_path / "m.csv"
    manifest.write_text(
        "path,label,mask,patient,split\na.png,normal,,p1,train\nb.png,1,b_mask.png,p2,\n"
        "c.png,1,,p3,test\n"
    )
    items = read_items(manifest)
    assert [(i.name, i.label, i.patient, i.mask is not None) for i in items] == [
        ("a.png", 0, "p1", False),
        ("b.png", 1, "p2", True),
    ]
    manifest.write_text("path,label\na.png,ill\n")
    with pytest.raises(UsageError, match="line 2: label 'ill'"):
        read_items(manifest)
    manifest.write_text("path,label\nx.png,1\n")
    with pytest.raises(UsageError, match="line 2: there is no file"):
        read_items(manifest)
    manifest.write_text("file,kind\na,b\n")
    with pytest.raises(UsageError, match="columns path and label"):
        read_items(manifest)


def test_what_is_no_data(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_items(tmp_path / "none")
    with pytest.raises(UsageError, match="neither normal/ and abnormal/"):
        read_items(tmp_path)
    (tmp_path / "normal").mkdir()
    with pytest.raises(UsageError, match="holds no images of the split train"):
        read_items(tmp_path)


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("00003_60.png", "00003"),
        ("TCGA_DU_5872_060.png", "TCGA_DU_5872"),
        ("case_12.nii.gz", "case_12"),
        ("liver-7-33.png", "liver-7"),
    ],
)
def test_patients_of_file_names(tmp_path, name, patient):
    assert patient_of(tmp_path / name) == patient


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(0, 5), st.randoms())
def test_patients_take_turns_whatever_the_order_of_files(patients, seed, random):
    items = [Item(f"{n}", None, 0, f"p{p}") for n, p in enumerate(patients)]
    shuffled = sorted(random.sample(items, len(items)), key=lambda i: i.name)
    drawn = list(by_patient(sorted(items, key=lambda i: i.name), seed))
    assert drawn == list(by_patient(shuffled, seed))
    assert sorted(drawn, key=lambda i: i.name) == sorted(items, key=lambda i: i.name)
    first = drawn[: len(set(patients))]
    assert len({i.patient for i in first}) == len(set(patients))


def test_one_image_listed_twice_counts_once_and_has_one_label(tmp_path):
    touch(tmp_path / "a.png", tmp_path / "b.png")
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,label\na.png,normal\nb.png,abnormal\na.png,0\n")
    assert [item.name for item in read_items(manifest)] == ["a.png", "b.png"]
    manifest.write_text("path,label\na.png,normal\na.png,abnormal\n")
    with pytest.raises(UsageError, match=r"a\.png are the same image, but one is labelled normal"):
        read_items(manifest)
