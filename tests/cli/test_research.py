"""Research archives name themselves: BIDS trees, JSON beside volumes, a stated domain."""

import csv
import json

import pytest

from medscan import results
from tests import tiny

FLAIR = "ds/sub-01/ses-2/anat/sub-01_ses-2_FLAIR"
OTHERS = ("anat/sub-01_ses-2_T1w", "fmap/sub-01_ses-2_magnitude1")
SCAN = ("scan", "../site", "--out", "night.h5", "--workers", 0)


@pytest.fixture
def site(tmp_path, detector_file, monkeypatch):
    """A BIDS data set with one FLAIR; only the tiny detector comes with this medscan."""
    monkeypatch.setattr("medscan.detector.shipped", lambda: [detector_file])
    root = tmp_path / "site"
    for seed, path in enumerate((FLAIR, *(f"ds/sub-01/ses-2/{other}" for other in OTHERS))):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        tiny.write_nifti((root / path).with_suffix(".nii"), tiny.head_volume(seed))
    (root / "ds/dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    (root / "ds/participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t34\tF\n")
    return root


def scanned(inside, *words, codes=(0, 3)):
    done, out, err = inside(*SCAN, "--json", *words)
    assert done in codes, err
    return json.loads(out)


def test_the_flair_of_a_bids_data_set_is_scored_without_naming_a_detector(inside, site):
    inside(*SCAN)
    (study,) = results.open("night.h5").studies()
    assert [stack.info["detector"] for stack in study.stacks] == ["tiny-flair"]
    assert len(study.info["skipped"]) == 2
    assert not {"age", "sex", "patient_id"} & study.info.keys()


def test_a_sidecar_that_changes_has_the_study_scanned_again(inside, site):
    assert scanned(inside)["scanned"] == 1
    assert scanned(inside)["scanned"] == 0
    (site / FLAIR).with_suffix(".json").write_text('{"EchoTime": 0.1}')
    assert scanned(inside)["scanned"] == 1
    (site / "ds/FLAIR.json").write_text('{"BodyPart": "SPINE"}')
    assert scanned(inside)["scanned"] == 1
    (study,) = results.open("night.h5").studies()
    assert study.stacks == ()


def test_age_and_sex_are_told_with_the_identity_only(inside, site):
    inside(*SCAN, "--identify")
    with open("night.csv", encoding="utf-8") as table:  # noqa: PTH123 - in the folder of the test
        (row,) = csv.DictReader(table)
    assert (row["patient_id"], row["age"], row["sex"]) == (f"{site}/ds/sub-01", "034Y", "F")


def test_maps_go_back_into_the_data_set_and_are_not_scanned(inside, site):
    inside(*SCAN)
    before = scanned(inside)["files"]
    out = site / "ds/derivatives/medscan"
    done, said, _ = inside("export", "night.h5", "--to", "bids", "--archive", site, "--out", out)
    assert done == 0
    assert "names that BIDS data sets give their subjects" in said
    assert (
        out / FLAIR.removeprefix("ds/").replace("_FLAIR", "_desc-anomaly_FLAIR.nii.gz")
    ).exists()
    after = scanned(inside)
    assert after["studies"] == 1
    assert after["files"]["scanned"] == before["scanned"]
    assert after["reasons"]["derived"] == 1


DOMAIN = {"modality": "MR", "body_part": "HEAD", "sequence": "FLAIR", "plane": "axial"}


def test_a_picture_is_scored_where_its_domain_is_stated(inside, site, pictures):
    """By a file in its folder, or for all images by the command line."""
    (site / "slides").mkdir()
    picture = next(pictures.rglob("*.png"))
    (site / "slides/a.png").write_bytes(picture.read_bytes())
    assert scanned(inside)["files"]["scanned"] == 1
    stated = [word for name in DOMAIN for word in ("--domain", f"{name}={DOMAIN[name]}")]
    assert scanned(inside, *stated)["files"]["scanned"] == 2
    assert scanned(inside)["files"]["scanned"] == 1
    lines = [f'{name} = "{value}"' for name, value in DOMAIN.items()]
    (site / "slides/medscan-domain.toml").write_text("\n".join(["[domain]", *lines]))
    assert scanned(inside)["files"]["scanned"] == 2


def test_a_domain_that_cannot_be_read_is_told(inside, site):
    (site / "medscan-domain.toml").write_text("modality = US")
    found = scanned(inside, codes=(3,))
    assert (found["files"]["failed"], found["reasons"]["corrupt"]) == (1, 1)
    assert inside(*SCAN, "--domain", "organ=BRAIN")[0] == 2
