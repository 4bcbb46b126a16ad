"""A damaged record of a detector costs what it says, and nothing else."""

import json
import math

import pytest

from medscan import report, results
from medscan.inspect.integrity import accounting_problems
from medscan.scanning import scan
from tests import tiny
from tests.edited import edited
from tests.report import make

WRONG = {
    "hash": (None, 3),
    "name": (["x"], None),
    "threshold": ("0.5", None, math.inf),
    "target_fpr": ("0.05", math.nan),
    "provisional": ("yes", 1),
    "map_low": ("low", math.nan),
    "normals": (["1"], "12", [math.nan], 3),
    "method": (7,),
}


def damaged(path, **fields):
    """Change fields of a results file's first record."""
    with edited(path) as file:
        records = json.loads(file.attrs["detectors"])
        records[0] |= fields
        file.attrs["detectors"] = json.dumps(records)
    return path


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in WRONG.items() for value in values]
)
def test_a_damaged_record_is_left_out_and_named(tmp_path, field, value):
    path = damaged(
        make.results(tmp_path, [make.study("a", [make.stack("s")])]).path, **{field: value}
    )
    run = results.open(path).run()
    assert len(run.detectors) == len(make.run().detectors) - 1
    (line,) = run.damage
    assert f"is damaged: {field}" in line
    assert line in list(accounting_problems(run))
    files = [results.open(path)]
    report.write_csv(files, tmp_path / "r.csv")
    report.write_html(files, tmp_path / "r.html")
    assert (tmp_path / "r.html").stat().st_size > 1000


def test_a_record_that_is_none_is_left_out(tmp_path):
    path = make.results(tmp_path, [make.study("a", [make.stack("s")])]).path
    with edited(path) as file:
        file.attrs["detectors"] = '[3, null, "x", {}]'
    run = results.open(path).run()
    assert (run.detectors, len(run.damage)) == ([], 4)


def test_the_next_scan_drops_a_damaged_record_and_says_so(options, root):
    tiny.write_series(root / "a", tiny.head_volume(1), study="1.1")
    scan(options)
    out = damaged(options.outputs.out, hash="f" * 64, normals=["1"])
    tiny.write_series(root / "b", tiny.head_volume(2), study="1.2")
    summary = scan(options)
    assert summary.scanned == 1
    assert any("is damaged: normals" in note and "dropped" in note for note in summary.notes)
    run = results.open(out).run()
    assert (len(run.detectors), run.damage) == (1, [])
