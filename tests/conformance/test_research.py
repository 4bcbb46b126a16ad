"""Research images of other projects say what they are: by BIDS names and by JSON beside them."""

import pytest

BIDS = "research/bids"
NIH = "scanner/NIH QA/nifti"
STATED = {
    f"{BIDS}/ieeg_visual/sub-01/ses-01/anat/sub-01_ses-01_T1w.nii.gz": {
        "Modality": "MR",
        "BodyPartExamined": "BRAIN",
        "FileName": "T1w",
    },
    f"{BIDS}/pet001/sub-01/ses-01/pet/sub-01_ses-01_trc-CIMBI36_pet.nii.gz": {
        "Modality": "PT",
        "BodyPartExamined": "Brain",
    },
    f"{BIDS}/pet005/sub-01/ses-baseline/anat/sub-01_ses-baseline_T1w.nii.gz": {
        "Modality": "MR",
        "BodyPartExamined": "BRAIN",
        "ScanningSequence": "GR\\IR",
        "EchoTime": "2.44",
        "InversionTime": "900",
        "RepetitionTime": "1900",
    },
    f"{NIH}/EPI_PE=AP_3.nii": {
        "Modality": "MR",
        "BodyPartExamined": "BRAIN",
        "ScanningSequence": "EP",
        "EchoTime": "50",
    },
    f"{NIH}/DCM2NIIX_regression_test_4.nii": {"ScanningSequence": "EP\\GR", "EchoTime": "30"},
    "research/neuro/RNifti/example.nii.gz": {"Modality": "MR", "EchoTime": "81"},
}
SILENT = ("research/neuro/RNifti/example_rgb.nii.gz", "research/neuro/formats/anatomical.nii")


@pytest.fixture(scope="module")
def facts(catalogue):
    stacks = (stack for study in catalogue.studies for s in study.series for stack in s.stacks)
    return {stack.frames[0].file.path: stack.facts for stack in stacks}


@pytest.mark.parametrize("path", STATED)
def test_what_is_stated_beside_an_image_is_known(facts, path):
    assert facts[path].items() >= STATED[path].items()


@pytest.mark.parametrize("path", SILENT)
def test_an_image_with_nothing_beside_it_states_nothing(facts, path):
    assert facts[path].keys() == {"FileName"}


def test_sessions_are_studies_of_subjects(catalogue):
    patients = {
        study.files()[0].path.removeprefix(f"{BIDS}/").split("/ses-")[0]: study
        for study in catalogue.studies
        if study.files()[0].path.startswith(f"{BIDS}/")
    }
    assert patients
    for name, study in patients.items():
        assert study.patient_id == f"{study.files()[0].root}/{BIDS}/{name}"
