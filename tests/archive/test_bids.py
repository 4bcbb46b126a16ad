"""Names of BIDS data sets: believed where folders and name say the same."""

import pytest

from medscan.archive import BidsName, bids_name
from medscan.archive.bids import study_path
from medscan.archive.types import ArchiveFile

NAMED = {
    "/d/sub-01/anat/sub-01_FLAIR.nii.gz": BidsName("/d", "sub-01", "", "anat", (), "FLAIR"),
    "/d/sub-01/ses-2/func/sub-01_ses-2_task-rest_run-1_bold.nii": BidsName(
        "/d", "sub-01", "ses-2", "func", (("task", "rest"), ("run", "1")), "bold"
    ),
    "/a/b/sub-x/pet/sub-x_trc-FDG_pet.nii.gz": BidsName(
        "/a/b", "sub-x", "", "pet", (("trc", "FDG"),), "pet"
    ),
    "sub-01/ct/sub-01_ct.nii": BidsName("", "sub-01", "", "ct", (), "ct"),
}


@pytest.mark.parametrize("path", NAMED)
def test_a_name_is_taken_apart(path):
    assert bids_name(path) == NAMED[path]


@pytest.mark.parametrize(
    "path",
    [
        "sub-01_FLAIR.nii.gz",
        "/anat/sub-01_FLAIR.nii.gz",
        "/d/sub-01/anat/sub-02_FLAIR.nii.gz",
        "/d/sub-01/anat/FLAIR.nii.gz",
        "/d/sub-01/anat/sub-01.nii.gz",
        "/d/sub-01/anat/sub-01_.nii.gz",
        "/d/sub-01/anat/sub-01_notes here_T1w.nii.gz",
        "/d/sub-01/ses-1/anat/sub-01_T1w.nii.gz",
        "/d/sub-01/ses-1/anat/sub-01_ses-2_T1w.nii.gz",
        "/d/sub-01/pictures/sub-01_T1w.nii.gz",
        "/d/sub-/anat/sub-_T1w.nii.gz",
        "/d/sub-01/anat/.nii.gz",
    ],
)
def test_what_contradicts_itself_is_no_such_name(path):
    assert bids_name(path) is None


@pytest.mark.parametrize(
    ("root", "path", "study"),
    [
        ("/a", "d/sub-1/ses-2/anat/sub-1_ses-2_T1w.nii", "d/sub-1/ses-2"),
        ("/a/d", "sub-1/anat/sub-1_T1w.nii", "sub-1"),
        ("/a/d/sub-1", "anat/sub-1_T1w.nii", "."),
        ("/a/d/sub-1/anat", "sub-1_T1w.nii", "."),
        ("/a", "d/sub-1/anat/T1w.nii", "d/sub-1/anat/T1w.nii"),
    ],
)
def test_the_session_is_the_study(tmp_path, root, path, study):
    file = ArchiveFile(path, tmp_path / root[1:], 1, 1)
    assert study_path(file, file.path) == study
