"""Files of the same name below several archives: each is one study, in whatever order they come."""

import pydicom
import pytest

from medscan import results
from medscan.results import distinct
from medscan.scanning import scan
from tests import tiny
from tests.options import changed

PATH = "sub-01/anat/sub-01_FLAIR.nii.gz"


@pytest.fixture
def years(tmp_path):
    """Two BIDS data sets, each with a subject of the same label."""
    for number in (1, 2):
        path = tmp_path / f"year{number}" / PATH
        path.parent.mkdir(parents=True)
        tiny.write_nifti(path, tiny.head_volume(number, slices=3))
    return tmp_path / "year1", tmp_path / "year2"


def found(options):
    return {study.key: study for study in results.open(options.outputs.out).studies()}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_archive_that_is_added_is_counted_once(options, years, order):
    first, second = (years[n] for n in order)
    scan(changed(options, roots=(first,)))
    summary = scan(changed(options, roots=years))
    assert (summary.scanned, summary.unchanged) == (1, 1)
    studies = found(options)
    assert len(studies) == 2
    assert len({study.info["patient"] for study in studies.values()}) == 2
    assert not any(study.mark.absent or study.mark.stale for study in studies.values())
    alone = changed(options, roots=(second,), out=options.outputs.out.with_name("alone.h5"))
    scan(alone)
    assert found(alone).keys() < studies.keys()
    assert scan(changed(options, roots=years[::-1])).unchanged == 2


def test_files_of_both_read_as_one_hold_both(options, years):
    outs = [options.outputs.out.with_name(f"{year.name}.h5") for year in years]
    for year, out in zip(years, outs, strict=True):
        scan(changed(options, roots=(year,), out=out))
    files = distinct(map(results.open, outs))
    assert sorted(len(file.keys()) for file in files) == [1, 1]


def test_a_study_whose_files_are_of_another_one_now_is_absent(options, root):
    """A site gives a study another UID in place."""
    tiny.write_series(root / "a", tiny.head_volume(1, slices=2), study="1.1")
    scan(options)
    for path in (root / "a").iterdir():
        header = pydicom.dcmread(path)
        header.StudyInstanceUID = "1.2"
        header.save_as(path)
    summary = scan(options)
    assert (summary.scanned, summary.absent) == (1, 1)
    studies = found(options).values()
    absent = {study.info["StudyInstanceUID"]: bool(study.mark.absent) for study in studies}
    assert absent == {"1.1": True, "1.2": False}
    assert scan(options).absent == 1
