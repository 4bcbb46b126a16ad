"""What does not say is scored only by a named detector, and then marked as assumed."""

import csv

import pytest

from medscan import report, results
from medscan.scanning import scan
from tests import tiny
from tests.options import changed


@pytest.fixture
def mixed(root):
    """A FLAIR series, a field map and a volume that says nothing."""
    volume = tiny.head_volume(1, slices=2)
    tiny.write_series(root / "flair", volume, study="1.2.1")
    tiny.write_series(root / "map", volume, study="1.2.2", description="gre_field_mapping")
    tiny.write_nifti(root / "v.nii.gz", volume)
    return root


def stacks_of(options):
    studies = {s.info["path"]: s for s in results.open(options.outputs.out).studies()}
    return studies, {path: study.stacks for path, study in studies.items()}


def test_a_named_detector_scores_it_and_says_so_everywhere(options, mixed, tmp_path):
    summary = scan(options)
    studies, stacks = stacks_of(options)
    assert [s.assumed for s in stacks["flair"]] == [[]]
    (volume,) = stacks["v.nii.gz"]
    assert volume.assumed == ["modality MR", "body part BRAIN", "sequence FLAIR"]
    assert summary.coverage.assumed == 1
    assert "1 by assumption" in summary.line()
    opened = [results.open(options.outputs.out)]
    for name in ("results", "series"):
        report.write_csv(opened, tmp_path / f"{name}.csv", name)
        with (tmp_path / f"{name}.csv").open(newline="") as stream:
            told = sorted(row["assumed"] for row in csv.DictReader(stream))
        assert told[-1] == "modality MR; body part BRAIN; sequence FLAIR"
        assert set(told[:-1]) == {""}
    report.write_html(opened, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "axial (assumed: modality MR, body part BRAIN, sequence FLAIR)" in page
    assert studies["map"].stacks == ()
    ((_, reason, sentences),) = studies["map"].info["skipped"]
    assert reason == "out-of-scope"
    assert 'SeriesDescription "FIELD_MAP" (FIELD MAP)' in sentences[0]


def test_a_detector_that_was_not_named_leaves_it_out_and_says_what_to_do(options, mixed):
    summary = scan(changed(options, named=False))
    assert summary.reasons == {"out-of-scope": 2, "scanned": 2, "unstated": 1}
    assert (
        "1 study out of scope: the files do not name a modality, body part and sequence; "
        "name a detector to score it"
    ) in summary.line()
    ((_, reason, sentences),) = stacks_of(options)[0]["v.nii.gz"].info["skipped"]
    assert reason == "unstated"
    assert sentences[0].endswith("name the detector to have it scored")


def test_what_is_assumed_is_scored_again_once_the_detector_is_not_named(options, mixed):
    scan(changed(options, named=False))
    assert scan(options).scanned == 1
    assert scan(options).scanned == 0
