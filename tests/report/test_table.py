import csv
import dataclasses

import numpy as np
import pytest

from medscan.errors import DiskError
from medscan.report import COLUMNS, write_csv
from tests.report import make


def rows_of(path):
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def test_a_row_a_study_worst_first(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    write_csv([results], tmp_path / "w.csv")
    rows = rows_of(tmp_path / "w.csv")
    assert list(rows[0]) == list(COLUMNS)
    assert [r["rank"] for r in rows] == ["1", "2", "3", "4", ""]
    assert rows[0] == {
        "rank": "1",
        "study": "aaa",
        "study_instance_uid": "1.2.840.aaa",
        "date": "20240131",
        "modality": "MR",
        "patient": "p-1f2e3d",
        "path": "site/aaa",
        "score": "0.950000",
        "percentile": "80.00",
        "threshold": "0.600000",
        "flagged": "1",
        "provisional": "0",
        "detector": "brain-flair",
        "series": "2",
        "slices": "32",
        "worst_series_instance_uid": "1.2.3.1",
        "worst_sop_instance_uid": "1.2.3.4.12",
        "worst_frame": "0",
        "reason": "",
        "patient_id": "",
    }
    assert rows[2]["provisional"] == "1"
    assert rows[4]["score"] == rows[4]["threshold"] == rows[4]["worst_frame"] == ""
    assert rows[4]["reason"] == "series 1.2.3.9: out-of-scope"


def test_several_files_read_as_one(tmp_path):
    one = make.results(tmp_path, make.few_studies()[:1], name="1.h5")
    two = make.results(tmp_path, make.few_studies()[1:], name="2.h5")
    whole = make.results(tmp_path, make.few_studies())
    write_csv([two, one], tmp_path / "parts.csv")
    write_csv([whole], tmp_path / "whole.csv")
    assert (tmp_path / "parts.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_hostile_text_is_defused_and_stays_on_its_line(tmp_path):
    study = make.study(
        "aaa", [make.stack("s1", n=1)], path="=cmd|'/c calc'!A1", patient="\t@x\r\n\udcff"
    )
    write_csv([make.results(tmp_path, [study])], tmp_path / "w.csv")
    (row,) = rows_of(tmp_path / "w.csv")
    assert row["path"] == "'=cmd|'/c calc'!A1"
    assert row["patient"] == "'\\t@x\\r\\n\\udcff"


def test_patient_id_is_there_with_identify_only(tmp_path):
    study = make.study("aaa", [make.stack("s1", n=1)], patient_id="12345")
    write_csv([make.results(tmp_path, [study])], tmp_path / "w.csv")
    assert rows_of(tmp_path / "w.csv")[0]["patient_id"] == "12345"


def test_reason_when_every_slice_is_background(tmp_path):
    stack = make.stack("s1", n=2, pictures=0)
    stack.slice_score[:] = np.nan
    stack.state[:] = [1, 2]
    study = make.study("aaa", [dataclasses.replace(stack, score=float("nan"))])
    write_csv([make.results(tmp_path, [study])], tmp_path / "w.csv")
    reason = rows_of(tmp_path / "w.csv")[0]["reason"]
    assert reason == "slices could not be read; slices are background only"


def test_no_folder_is_a_disk_error(tmp_path):
    results = make.results(tmp_path, make.few_studies())
    with pytest.raises(DiskError, match=r"w\.csv"):
        write_csv([results], tmp_path / "none" / "w.csv")
