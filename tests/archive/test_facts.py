"""What headers say that an image is: one form for every format, down to frames and stacks."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from medscan.archive import index
from medscan.archive.facts import (
    ADULTS,
    CHILDREN,
    FACTS,
    KEYWORDS,
    TERMS,
    age_group,
    facts_of,
    shared,
)

from .conftest import outcome, write


def item(**tags):
    ds = Dataset()
    for keyword, value in tags.items():
        setattr(ds, keyword, value)
    return ds


def test_a_dicom_object_states_its_facts(tmp_path):
    found = outcome(
        write(
            tmp_path / "a",
            Modality="mr",
            BodyPartExamined="Upper leg",
            SeriesDescription="t2 flair",
            ProtocolName="brain",
            ImageType=["original", "PRIMARY", "M"],
            ScanningSequence=["SE", "IR"],
            EchoTime="9.250000E+01",
            InversionTime=2500,
            ContrastBolusAgent="NONE",
        )
    )
    assert found.facts == {
        "SOPClassUID": CTImageStorage,
        "Modality": "MR",
        "BodyPartExamined": "Upper leg",
        "SeriesDescription": "t2 flair",
        "ProtocolName": "brain",
        "ImageType": "ORIGINAL\\PRIMARY\\M",
        "ScanningSequence": "SE\\IR",
        "EchoTime": "92.5",
        "InversionTime": "2500",
    }
    assert (found.modality, found.body_part) == ("MR", "Upper leg")
    assert found.description == "t2 flair | brain"


def test_codes_speak_where_the_plain_elements_are_silent(tmp_path):
    found = outcome(
        write(
            tmp_path / "a",
            AnatomicRegionSequence=[item(CodeMeaning="Brain")],
            ContrastBolusAgentSequence=[item(CodeMeaning="Gadolinium")],
        )
    )
    assert (found.body_part, found.facts["ContrastBolusAgent"]) == ("Brain", "Gadolinium")


def test_a_vendor_s_b_value_is_a_fact_of_its_frame(tmp_path):
    found = outcome(write(tmp_path / "a", SequenceName="*ep_b1000#3"))
    assert found.layers[0].facts == {"DiffusionBValue": "1000"}
    assert not outcome(write(tmp_path / "b", SequenceName="*ep_b0")).layers[0].facts


def test_frames_say_what_differs_from_their_object_and_stacks_say_both(tmp_path):
    def frame(kind, echo, z):
        return item(
            MRImageFrameTypeSequence=[
                item(FrameType=["ORIGINAL", "PRIMARY", kind], ComplexImageComponent="MAGNITUDE")
            ],
            MREchoSequence=[item(EffectiveEchoTime=echo)],
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])],
        )

    path = write(
        tmp_path / "a",
        Modality="MR",
        ImageType=["ORIGINAL", "PRIMARY", "M"],
        ComplexImageComponent="MIXED",
        SharedFunctionalGroupsSequence=[
            item(MRModifierSequence=[item(InversionTimes=2400.0, InversionRecovery="YES")])
        ],
        PerFrameFunctionalGroupsSequence=[frame("M", 4.5, 0), frame("P", 4.5, 0)],
        NumberOfFrames=2,
        PixelData=bytes(96),
    )
    found = outcome(path)
    assert (found.facts["InversionTime"], found.facts["InversionRecovery"]) == ("2400", "YES")
    first, second = (layer.facts for layer in found.layers)
    assert first == {"EchoTime": "4.5", "ComplexImageComponent": "MAGNITUDE"}
    assert second == {**first, "ImageType": "ORIGINAL\\PRIMARY\\P"}
    (study,) = index([tmp_path]).studies
    kinds = {stack.facts["ImageType"][-1] for stack in study.series[0].stacks}
    assert kinds == {"M", "P"}
    assert all(
        stack.facts["EchoTime"] == "4.5" and stack.facts["Modality"] == "MR"
        for stack in study.series[0].stacks
    )


def test_a_volume_and_a_picture_have_the_name_of_their_file(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.eye(4)), tmp_path / "x_FLAIR.nii.gz")
    Image.new("L", (4, 4)).save(tmp_path / "film.png")
    stacks = [s.series[0].stacks[0] for s in index([tmp_path]).studies]
    assert sorted(stack.facts["FileName"] for stack in stacks) == ["film", "x_FLAIR"]
    assert outcome(tmp_path / "film.png").description == "film"


def test_a_volume_in_several_times_says_how_many(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4, 5), np.int16), np.eye(4)), tmp_path / "v.nii")
    assert outcome(tmp_path / "v.nii").facts["NumberOfTemporalPositions"] == "5"


def test_broken_values_are_not_stated():
    ds = item(EchoTime="1e400", Modality="MR")
    assert facts_of(lambda _: [ds]) == {"Modality": "MR"}


def test_equal_facts_are_kept_once():
    assert shared({"Modality": "MR", "EchoTime": "4"}) is shared(
        {"Modality": "MR", "EchoTime": "4"}
    )


def test_each_fact_is_read_from_elements_and_shown_by_known_words():
    assert {fact.keyword for fact in FACTS} <= set(KEYWORDS)
    assert all(word == word.upper() and word.isalnum() for word in TERMS)


@pytest.mark.parametrize(
    ("said", "age"),
    [
        ({"PatientAge": "045Y"}, "045Y"),
        ({"PatientAge": "007M"}, "007M"),
        ({"PatientBirthDate": "20060301", "StudyDate": "20240301"}, "018Y"),
        ({"PatientBirthDate": "20060302", "StudyDate": "20240301"}, "017Y"),
        # What cannot be an age is none: the dates are asked.
        ({"PatientAge": "999Y", "PatientBirthDate": "19800101", "StudyDate": "20240301"}, "044Y"),
        ({"PatientAge": "about 40", "StudyDate": "20240301"}, ""),
        ({"PatientBirthDate": "20250101", "StudyDate": "20240301"}, ""),
        ({"PatientBirthDate": "18000101", "StudyDate": "20240301"}, ""),
        ({}, ""),
    ],
)
def test_an_age_is_stated_or_follows_from_the_date_of_birth(tmp_path, said, age):
    stated = {"StudyDate": ""} | said
    found = outcome(write(tmp_path / "a", **stated))
    assert found.facts.get("PatientAge", "") == age


@pytest.mark.parametrize(
    ("age", "group"),
    [
        ("018Y", ADULTS),
        ("017Y", CHILDREN),
        ("215M", CHILDREN),
        ("216M", ADULTS),
        ("900W", CHILDREN),
        ("003D", CHILDREN),
        ("adults", ADULTS),
        ("131Y", ""),
        ("40", ""),
        ("", ""),
    ],
)
def test_ages_have_two_groups(age, group):
    assert age_group(age) == group
