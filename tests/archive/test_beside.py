"""What lies beside an image gets into its facts: the nearest and most particular counts most."""

import json

import nibabel
import pytest
from PIL import Image

from medscan.archive import Bucket, Pseudonyms, Reason, Stated, index
from medscan.choices import Bounds, Plane, Shard
from tests.archive.volumes import AFFINE, VOXELS, nifti

FLAIR = "sub-01/ses-2/anat/sub-01_ses-2_FLAIR.nii.gz"
T1W = "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz"


def volume(root, path):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(VOXELS, AFFINE), root / path)


def note(root, path, said):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    text = said if isinstance(said, str) else json.dumps(said)
    (root / path).write_text(text)


def facts(root, **options):
    """Facts by path of the image."""
    studies = index([root], **options).studies
    stacks = [stack for study in studies for series in study.series for stack in series.stacks]
    return {stack.frames[0].file.path: dict(stack.facts) for stack in stacks}


def details(root, reason):
    return {o.file.path: o.detail for o in index([root]).set_aside if o.reason is reason}


def test_a_bids_name_states_modality_body_part_and_sequence(tmp_path):
    volume(tmp_path, FLAIR)
    assert facts(tmp_path)[FLAIR] == {
        "Modality": "MR",
        "BodyPartExamined": "BRAIN",
        "FileName": "FLAIR",
    }


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("func/sub-01_task-T1_bold.nii.gz", {"Modality": "MR", "FileName": "bold"}),
        ("fmap/sub-01_phasediff.nii.gz", {"Modality": "MR", "FileName": "fieldmap phasediff"}),
        ("pet/sub-01_trc-FLAIR_pet.nii.gz", {"Modality": "PT", "FileName": "pet"}),
        ("ct/sub-01_ct.nii.gz", {"Modality": "CT", "FileName": "ct"}),
        ("anat/sub-01_ce-Gd_T1w.nii.gz", {"ContrastBolusAgent": "Gd", "FileName": "T1w"}),
        ("anat/sub-01_part-phase_T2starw.nii.gz", {"ComplexImageComponent": "PHASE"}),
        ("anat/sub-01_FLASH.nii.gz", {"ScanningSequence": "GR"}),
        ("anat/sub-01_R2starmap.nii.gz", {"FileName": "R2star map"}),
    ],
)
def test_each_suffix_says_what_it_is(tmp_path, path, said):
    volume(tmp_path, f"sub-01/{path}")
    (found,) = facts(tmp_path).values()
    assert found.items() >= said.items()
    assert ("BodyPartExamined" in found) is (found["Modality"] == "MR")


def test_a_sidecar_beside_any_volume_or_picture_describes_it(tmp_path):
    volume(tmp_path, "a/v.nii.gz")
    volume(tmp_path, "a/w.nii")
    Image.new("L", (9, 9)).save(tmp_path / "a" / "p.png")
    for name in "vp":
        note(tmp_path, f"a/{name}.json", {"Modality": "CT", "EchoTime": 0.1})
    found = facts(tmp_path)
    assert found["a/v.nii.gz"] == {"Modality": "CT", "EchoTime": "100", "FileName": "v"}
    assert found["a/p.png"]["Modality"] == "CT"
    assert found["a/w.nii"] == {"FileName": "w"}


def test_sidecars_are_inherited_and_the_nearest_counts(tmp_path):
    for path in (FLAIR, T1W):
        volume(tmp_path, f"ds/{path}")
    note(tmp_path, "FLAIR.json", {"EchoTime": 0.9})  # above the data set
    note(tmp_path, "ds/FLAIR.json", {"EchoTime": 0.1, "RepetitionTime": 8, "FlipAngle": 90})
    note(tmp_path, "ds/sub-01/sub-01_FLAIR.json", {"EchoTime": 0.11, "RepetitionTime": 9})
    note(tmp_path, f"ds/{FLAIR[:-7]}.json", {"EchoTime": 0.12})
    note(tmp_path, "ds/sub-02_FLAIR.json", {"EchoTime": 0.5})
    note(tmp_path, "ds/acq-3d_FLAIR.json", {"EchoTime": 0.6})
    found = facts(tmp_path)
    wanted = {"EchoTime": "120", "RepetitionTime": "9000", "FlipAngle": "90"}
    assert found[f"ds/{FLAIR}"].items() >= wanted.items()
    assert "EchoTime" not in found[f"ds/{T1W}"]


def test_of_two_beside_each_other_the_more_particular_counts(tmp_path):
    volume(tmp_path, FLAIR)
    note(tmp_path, "FLAIR.json", {"EchoTime": 0.1, "FlipAngle": 90})
    note(tmp_path, "sub-01_FLAIR.json", {"EchoTime": 0.2})
    assert facts(tmp_path)[FLAIR].items() >= {"EchoTime": "200", "FlipAngle": "90"}.items()


def test_a_sidecar_has_the_last_word_on_modality_and_body_part(tmp_path):
    volume(tmp_path, T1W)
    note(tmp_path, f"{T1W[:-7]}.json", {"BodyPart": "CSPINE", "SeriesDescription": "t1 tse"})
    found = facts(tmp_path)[T1W]
    assert (found["BodyPartExamined"], found["SeriesDescription"]) == ("CSPINE", "t1 tse")


def test_a_stated_domain_fills_what_nothing_else_states(tmp_path):
    for name in ("us/a.png", "us/deep/b.png", "c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9)).save(tmp_path / name)
    note(tmp_path, "us/medscan-domain.toml", '[domain]\nmodality = "US"\nbody_part = "BREAST"\n')
    note(tmp_path, "us/deep/medscan-domain.toml", '[domain]\nbody_part = "LIVER"\n')
    note(tmp_path, "us/a.json", {"BodyPartExamined": "NECK"})
    everywhere = Stated({"Modality": "XC", "ViewPosition": "PA"}, "coronal")
    found = facts(tmp_path, stated=everywhere)
    assert [found[n]["Modality"] for n in sorted(found)] == ["XC", "US", "US"]
    assert found["us/a.png"]["BodyPartExamined"] == "NECK"
    assert found["us/deep/b.png"]["BodyPartExamined"] == "LIVER"
    assert found["c.png"]["ViewPosition"] == "PA"
    (study, *_) = index([tmp_path], stated=everywhere).studies
    assert study.series[0].stacks[0].plane is Plane.CORONAL


def test_a_stated_sequence_is_for_what_has_no_description(tmp_path):
    for path in (T1W, "v.nii.gz", "w.nii.gz"):
        volume(tmp_path, path)
    note(tmp_path, "v.json", {"ProtocolName": "T2"})
    found = facts(tmp_path, stated=Stated({"SeriesDescription": "FLAIR"}))
    assert [found[p].get("SeriesDescription") for p in sorted(found)] == [None, None, "FLAIR"]


def test_a_session_is_a_study_and_a_subject_a_patient(tmp_path):
    for path in (FLAIR, T1W, "sub-01/ses-3/anat/sub-01_ses-3_T1w.nii"):
        volume(tmp_path / "ds", path)
    volume(tmp_path, "other/sub-01/anat/sub-01_T1w.nii")
    studies = index([tmp_path]).studies
    files = sorted([f.path for f in study.files()] for study in studies)
    assert [len(paths) for paths in files] == [2, 1, 1]
    patients = {study.files()[0].path.split("/")[0]: study.patient_id for study in studies}
    assert patients == {name: f"{tmp_path}/{name}/sub-01" for name in ("ds", "other")}
    for roots in (["ds", "other"], ["ds/sub-01", "other"]):
        again = index([tmp_path / root for root in roots]).studies
        assert {(study.key, study.patient_id) for study in again} == {
            (study.key, study.patient_id) for study in studies
        }
    hidden = index([tmp_path], pseudonyms=Pseudonyms(b"key")).studies
    assert len({study.patient_id for study in hidden}) == 2
    assert "sub" not in "".join(study.patient_id for study in hidden)


def test_one_broken_file_costs_the_session_only_itself(tmp_path):
    volume(tmp_path, FLAIR)
    flat = tmp_path / T1W.removesuffix(".gz")
    nifti(flat, sform_code=0, qform_code=0, pixdim=[1, 0, 0, 0, 1, 1, 1, 1])
    assert details(tmp_path, Reason.CORRUPT).keys() == {T1W.removesuffix(".gz")}
    (study,) = index([tmp_path]).studies
    assert [f.path for f in study.files()] == [FLAIR]


def test_a_long_series_does_not_cost_the_session_its_other_images(tmp_path):
    volume(tmp_path, FLAIR)
    volume(tmp_path, T1W)
    planes = sum(
        len(stack.frames) for s in index([tmp_path]).studies[0].series for stack in s.stacks
    )
    (study,) = index([tmp_path], bounds=Bounds(study_planes=planes - 1, side=1)).studies
    assert len(study.files()) == 2


def test_derivatives_and_masks_are_set_aside_unless_they_are_the_archive(tmp_path):
    raw, made = tmp_path / "ds", tmp_path / "ds/derivatives/prep"
    volume(raw, T1W)
    volume(raw, "sub-01/ses-2/anat/sub-01_ses-2_defacemask.nii.gz")
    volume(made, "sub-01/ses-2/anat/sub-01_ses-2_desc-preproc_T1w.nii.gz")
    volume(raw, "sourcedata/sub-01/x.nii")
    volume(tmp_path, "elsewhere/y.nii")
    note(raw, "dataset_description.json", {"Name": "x", "BIDSVersion": "1.8.0"})
    note(tmp_path, "elsewhere/dataset_description.json", {"DatasetType": "derivative"})
    assert sorted(facts(tmp_path)) == ["ds/sourcedata/sub-01/x.nii", f"ds/{T1W}"]
    assert sorted(details(tmp_path, Reason.DERIVED).values()) == [
        "a mask",
        "in the derivatives of a BIDS data set",
        "in the derivatives of a BIDS data set",
    ]
    assert len(facts(made)) == len(facts(raw / "derivatives")) == 1
    assert list(facts(tmp_path / "elsewhere")) == ["y.nii"]


def test_every_file_is_accounted_for_in_each_shard(tmp_path):
    for subject in "abcdef":
        path = f"sub-{subject}/anat/sub-{subject}_T1w"
        volume(tmp_path, f"{path}.nii")
        note(tmp_path, f"{path}.json", {"EchoTime": 0.1})
    note(tmp_path, "T1w.json", {"FlipAngle": 9})
    whole = facts(tmp_path)
    found, files = {}, []
    for number in (1, 2, 3):
        shard = Shard(number, 3)
        found |= facts(tmp_path, shard=shard)
        catalogue = index([tmp_path], shard=shard)
        files += [f for study in catalogue.studies for f in study.files()]
        files += [outcome.file for outcome in catalogue.set_aside]
    assert found == whole
    assert len(files) == len(set(files)) == 13
    assert {o.reason.bucket for o in index([tmp_path]).set_aside} == {Bucket.SKIPPED}


def test_facts_do_not_depend_on_the_order_of_files(tmp_path):
    from medscan.archive import group, read_header, walk

    volume(tmp_path, FLAIR)
    note(tmp_path, "FLAIR.json", {"EchoTime": 0.1})
    note(tmp_path, "sub-01_FLAIR.json", {"EchoTime": 0.2})
    records = [read_header(file) for file in walk(tmp_path)]
    assert group(records) == group(records[::-1])
