import csv

from medscan.export import Job, exporter
from tests.report import make


def test_a_row_a_slice(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    (path,) = exporter("csv")(Job(results, tmp_path / "out" / "deep"))
    rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
    assert len(rows) == 24 + 12 + 9 + 24 + 1
    assert rows[0]["state"] == "background"
    assert rows[0]["score"] == ""
    assert rows[12] | {"threshold": ""} == {
        "study": "aaa",
        "study_instance_uid": "1.2.840.aaa",
        "stack": "s1",
        "series_instance_uid": "1.2.3.1",
        "path": "study/s1/012.dcm",
        "sop_instance_uid": "1.2.3.4.12",
        "frame": "0",
        "position_mm": "16.000",
        "state": "scored",
        "score": "0.950000",
        "threshold": "",
        "detector": "brain-flair",
    }
