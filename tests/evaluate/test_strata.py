"""Figures by columns of the data's table and by elements of headers."""

import csv
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medscan.errors import UsageError
from medscan.evaluate.figures import Row
from medscan.evaluate.strata import bands, read_values, strata_of
from medscan.metrics import auroc
from medscan.shots import read_items
from tests import tiny


def write_table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def dicom(tmp_path_factory):
    """A manifest of two DICOM series of two people, of two vendors."""
    folder = tmp_path_factory.mktemp("dicom")
    rows = []
    for number, (vendor, sex, age) in enumerate([("ACME", "F", "071Y"), ("=1+1", "M", "006M")]):
        tiny.write_series(
            folder / f"s{number}",
            tiny.head_volume(number, slices=2),
            Manufacturer=vendor,
            PatientSex=sex,
            PatientAge=age,
            PatientID=f"p{number}",
        )
        files = sorted((folder / f"s{number}").iterdir())
        rows += [{"path": str(f.relative_to(folder)), "label": "normal"} for f in files]
    return write_table(folder / "all.csv", [r | {"Site": "x"} for r in rows])


def test_elements_of_dicom_files(dicom):
    items = read_items(dicom)
    values = read_values(dicom, items, ["Manufacturer", "Sex", "PatientAge", "Site", "KVP"])
    first, last = (items[n].name for n in (0, -1))
    assert [values[name][first] for name in values] == ["ACME", "F", "65 years and over", "x", ""]
    assert [values[name][last] for name in values] == ["=1+1", "M", "under 18 years", "x", ""]


def test_columns_of_cases_csv_and_of_a_manifest(tmp_path):
    data = tiny.write_pictures(tmp_path, 2)
    rows = list(csv.DictReader((data / "cases.csv").read_text().splitlines()))
    write_table(data / "cases.csv", [r | {"Scanner": f" s{n} "} for n, r in enumerate(rows)])
    values = read_values(data, read_items(data), ["Scanner"])["Scanner"]
    names = {i.path.stem: i.name for i in read_items(data)}
    assert [values[names[r["case"]]] for r in rows] == [f"s{n}" for n in range(len(rows))]


def test_what_lies_beside_other_formats(tmp_path):
    for n, (sex, age) in enumerate([("F", "30"), ("M", "n/a")], 1):
        place = tmp_path / f"sub-0{n}" / "anat" / f"sub-0{n}_T1w.nii.gz"
        tiny.write_nifti(place, tiny.head_volume(n).astype(np.int16))
        place.with_name(f"sub-0{n}_T1w.json").write_text(json.dumps({"Manufacturer": "Acme"}))
        with (tmp_path / "participants.tsv").open("a") as stream:
            stream.write("participant_id\tsex\tage\n" * (n == 1) + f"sub-0{n}\t{sex}\t{age}\n")
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    paths = [f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz" for n in (1, 2)]
    manifest = write_table(tmp_path / "m.csv", [{"path": p, "label": "normal"} for p in paths])
    values = read_values(manifest, read_items(manifest), ["Sex", "Age", "Manufacturer"])
    assert [values["Sex"][p] for p in paths] == ["F", "M"]
    assert [values["Age"][p] for p in paths] == ["18 to 39 years", ""]
    assert [values["Manufacturer"][p] for p in paths] == ["ACME", "ACME"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Manufacturr", "did you mean Manufacturer"),
        ("site", "did you mean Site"),
        ("Sitte", r"columns? of the data \(Site\); did you mean Site"),
        ("PatientName", "names single patients"),
        ("PatientID", "names single patients"),
        ("Name", "names single patients"),
        ("StudyDate", "names single patients"),
        ("AccessionNumber", "names single patients"),
        ("label", "neither a DICOM keyword"),
        ("\x1b[31m", r"x1b\[31m: neither"),
    ],
)
def test_other_names_are_one_line(dicom, name, message):
    with pytest.raises(UsageError, match=message) as caught:
        read_values(dicom, read_items(dicom), [name])
    assert len(str(caught.value).splitlines()) == 1


def rows_of(values, labels, scores):
    return [
        Row(f"v{n}.nii.gz#3", f"p{n}", label, score, score >= 0.5)
        for n, (_, label, score) in enumerate(zip(values, labels, scores, strict=True))
    ]


def test_figures_are_those_of_the_members():
    rng = np.random.default_rng(0)
    values = ["a"] * 30 + ["b"] * 12 + [""] * 12
    labels = [n % 2 for n in range(54)]
    scores = np.clip(rng.random(54) + 0.2 * np.array(labels), 0, 1).tolist()
    known = {f"v{n}.nii.gz": value for n, value in enumerate(values)}
    rows = rows_of(values, labels, scores)
    found = strata_of(rows, {"Vendor": known}, draws=20)
    assert [(s.variable, s.value) for s in found] == [
        ("Vendor", name) for name in ("a", "(not stated)", "b")
    ]
    assert [(s.normals, s.abnormals, s.patients) for s in found] == [
        (15, 15, 30),
        *[(6, 6, 12)] * 2,
    ]
    for one, part in zip(found, (slice(0, 30), slice(42, 54), slice(30, 42)), strict=True):
        mine, truth = np.array(scores[part]), np.array(labels[part])
        assert one.auroc.value == pytest.approx(auroc(truth, mine))
        assert one.auroc.low <= one.auroc.value <= one.auroc.high
        assert one.sensitivity.value == np.mean(mine[truth == 1] >= 0.5)
        assert one.specificity.value == np.mean(mine[truth == 0] < 0.5)


def test_too_few_patients_of_a_label_have_no_figures():
    labels = [0] * 20 + [1] * 4
    rows = rows_of(labels, labels, [0.1 * label for label in labels])
    one_patient = [row._replace(patient="p0") for row in rows_of([0] * 20, [0, 1] * 10, [0.5] * 20)]
    for members in (rows, one_patient):
        [found] = strata_of(members, {"x": {}}, draws=5)
        assert found.value == "(not stated)"
        assert found.is_too_small
        assert math.isnan(found.specificity.value)
        assert found.normals + found.abnormals == len(members)
    enough = strata_of(rows_of([0] * 25, [0] * 20 + [1] * 5, [0.5] * 25), {"x": {}}, draws=5)
    assert not enough[0].is_too_small


def test_without_a_threshold_there_are_no_flags():
    rows = [row._replace(flagged=None) for row in rows_of([0] * 20, [0, 1] * 10, [0.5] * 20)]
    [found] = strata_of(rows, {"x": {}}, draws=5)
    assert found.auroc.value == 0.5
    assert math.isnan(found.sensitivity.value)


def test_rare_values_are_one_stratum():
    values = [f"v{n}" for n in range(40)] + ["often"] * 5
    known = {f"v{n}.nii.gz": value for n, value in enumerate(values)}
    found = strata_of(rows_of(values, [0] * 45, [0.5] * 45), {"x": known}, draws=0)
    assert len(found) == 20
    assert (found[0].value, found[-1].value) == ("often", "(other values)")
    assert sum(s.normals for s in found) == 45


def test_numbers_of_many_values_are_thirds():
    known = {str(n): f"{n / 10}" for n in range(30)} | {"none": ""}
    found = bands("SliceThickness", known)
    assert {found[str(n)] for n in range(10)} == {"up to 0.9"}
    assert {found[str(n)] for n in range(20, 30)} == {"above 1.9"}
    assert found["none"] == ""
    few = {"a": "1", "b": "2"}
    assert bands("KVP", few) == few
    words = {str(n): f"w{n}" for n in range(30)}
    assert bands("Site", words) == words


@given(st.text(max_size=8))
def test_any_age_is_read(text):
    assert isinstance(bands("PatientAge", {"a": text})["a"], str)


@pytest.mark.parametrize(
    ("text", "band"),
    [
        ("017Y", "under 18 years"),
        ("018Y", "18 to 39 years"),
        ("064Y", "40 to 64 years"),
        ("65", "65 years and over"),
        ("39.9", "18 to 39 years"),
        ("200W", "under 18 years"),
        ("old", ""),
    ],
)
def test_ages(text, band):
    assert bands("Age", {"a": text})["a"] == band
