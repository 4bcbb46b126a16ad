"""The line at the end counts each study once, and says why it has no score."""

import numpy as np
import pytest

from medscan import results
from medscan.coverage import Coverage
from medscan.report.worklist import rank
from medscan.scanning import scan
from tests import tiny
from tests.options import changed

STUDIES = 5


@pytest.fixture
def mixed(root):
    """A scored study, one out of scope, one broken, one black, and one to be left over."""
    head = tiny.head_volume(1, slices=3)
    tiny.write_series(root / "a", head, study="1.1")
    tiny.write_series(root / "b", head, study="1.2", Modality="CT", BodyPartExamined="CHEST")
    for path in tiny.write_series(root / "c", head, study="1.3").iterdir():
        path.write_bytes(path.read_bytes()[:-300])
    tiny.write_series(root / "d", np.zeros_like(head), study="1.4")
    tiny.write_series(root / "z", head, study="1.9")
    return root


def test_each_study_is_counted_once(options, mixed):
    summary = scan(changed(options, max_studies=3))
    assert summary.coverage == Coverage(
        scored=1,
        unreadable=1,
        empty=1,
        out_of_scope={"CT CHEST": 1},
        waiting=1,
        detectors={"tiny-flair": 1},
    )
    assert summary.line().startswith("2 studies scanned (")
    assert summary.line().endswith(
        f"of {STUDIES} studies 1 scored, 1 out of scope (1 CT CHEST), 1 not readable, "
        "1 background only, 1 not yet scanned"
    )
    told = {row.why_unscored for row in rank([results.open(options.outputs.out)])}
    assert told >= {"", "out of scope", "background only"}


def test_what_is_in_no_domain_is_not_said_to_be_scanned(options, root):
    for number in range(2):
        tiny.write_nifti(root / f"{number}.nii", tiny.head_volume(number, slices=2))
    line = scan(changed(options, named=False)).line()
    assert line.startswith("0 studies scanned (0 slices in ")
    assert line.endswith(
        "of 2 studies 2 out of scope (2 that do not say); 2 studies out of scope: the files do not "
        "name a modality, body part and sequence; name a detector to score them"
    )


def test_kinds_and_detectors_are_listed_with_most_first():
    kinds = {f"CT {letter}": 1 for letter in "ABCDEF"} | {"US": 7}
    coverage = Coverage(scored=3, out_of_scope=kinds, detectors={"b": 1, "a": 2})
    assert coverage.text() == (
        "of 16 studies 3 scored (2 by a, 1 by b), 13 out of scope "
        "(7 US, 1 CT A, 1 CT B, 1 CT C, 1 CT D, 2 of other kinds)"
    )
    assert Coverage().text() == ""
