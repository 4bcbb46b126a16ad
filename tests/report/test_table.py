import csv
import dataclasses
import json
import math

import numpy as np
import pytest

from medscan.errors import DiskError
from medscan.report import COLUMNS, TABLES, write_csv, write_json_lines
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
        "study_instance_uid": make.uid("aaa"),
        "date": "20240131",
        "modality": "MR",
        "patient": "p-1f2e3d",
        "path": "site/aaa",
        "score": "0.950000",
        "percentile": "80.00",
        "expected": "0.370194",
        "normals": "more abnormal than all 5 normals (expect 1 in 2 normal studies here)",
        "threshold": "0.600000",
        "flagged": "1",
        "uncertain": "0",
        "unlike": "",
        "provisional": "0",
        "detector": "brain-flair",
        "series": "2",
        "slices": "32",
        "worst_series_instance_uid": "1.2.3.1",
        "worst_sop_instance_uid": "1.2.3.4.12",
        "worst_frame": "0",
        "reason": "",
        "stale": "0",
        "kept": "",
        "assumed": "",
        "absent": "",
        "prior": "",
        "prior_date": "",
        "prior_score": "",
        "new_since": "",
        "patient_id": "",
        "accession_number": "",
        "age": "",
        "sex": "",
    }
    assert rows[3]["provisional"] == "1"
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
    named = {"patient_id": "12345", "accession_number": "=A1", "age": "034Y", "sex": "@F"}
    study = make.study("aaa", [make.stack("s1", n=1)], **named)
    write_csv([make.results(tmp_path, [study])], tmp_path / "w.csv")
    row = rows_of(tmp_path / "w.csv")[0]
    assert (row["patient_id"], row["accession_number"]) == ("12345", "'=A1")
    assert (row["age"], row["sex"]) == ("034Y", "'@F")


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


@pytest.mark.parametrize("table", TABLES)
def test_columns_are_documented_and_rows_fill_them(tmp_path, table):
    results = make.results(tmp_path, make.few_studies())
    write_csv([results], tmp_path / "t.csv", table)
    lines = list(csv.reader((tmp_path / "t.csv").read_text("utf-8").splitlines()))
    assert lines[0] == list(TABLES[table].columns)
    assert {len(line) for line in lines} == {len(lines[0])}
    assert all(words.endswith(".") for words in TABLES[table].columns.values())


def test_a_row_a_series(tmp_path):
    write_csv([make.results(tmp_path, make.few_studies())], tmp_path / "s.csv", "series")
    rows = rows_of(tmp_path / "s.csv")
    assert [(r["rank"], r["study"], r["stack"]) for r in rows] == [
        *[("1", "aaa", "s1"), ("1", "aaa", "s2"), ("2", "bbb", "s1")],
        *[("3", "ddd", "s1"), ("4", "ccc", "s1")],
    ]
    first = rows[0]
    assert (first["score"], first["flagged"], first["worst_number"]) == ("0.950000", "1", "13")
    assert (first["scored"], first["background"], first["failed"]) == ("22", "2", "0")
    assert (first["sequence"], first["plane"], rows[1]["plane"]) == ("FLAIR", "axial", "sagittal")


def test_a_row_a_slice(tmp_path):
    write_csv([make.results(tmp_path, make.few_studies())], tmp_path / "s.csv", "slices")
    rows = rows_of(tmp_path / "s.csv")
    assert len(rows) == 24 + 12 + 9 + 24 + 1
    assert rows[0]["state"] == "background"
    assert rows[0]["score"] == ""
    assert rows[12]["score"] == "0.950000"
    assert rows[12]["flagged"] == "1"
    assert rows[12]["position_mm"] == "16.000"
    assert [r["number"] for r in rows[:3]] == ["1", "2", "3"]


def test_numbers_have_a_fixed_precision_however_small(tmp_path):
    stack = make.stack("s1", n=2)
    stack.slice_score[:] = [1e-9, 123456.5]
    results = make.results(tmp_path, [make.study("aaa", [stack])])
    write_csv([results], tmp_path / "s.csv", "slices")
    assert [r["score"] for r in rows_of(tmp_path / "s.csv")] == ["0.000000", "123456.500000"]


@pytest.mark.parametrize("table", TABLES)
def test_json_lines_say_the_same_as_csv(tmp_path, table):
    results = make.results(
        tmp_path, [*make.few_studies(), make.study("fff", path="=1\u202e\udcff")]
    )
    write_csv([results], tmp_path / "t.csv", table)
    write_json_lines([results], tmp_path / "t.jsonl", table)
    rows = rows_of(tmp_path / "t.csv")
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert list(line) == list(row)
        for name, value in line.items():
            if isinstance(value, int | float):
                assert math.isclose(float(row[name]), value)
            else:
                assert row[name].removeprefix("'") == (value or "")
    assert not set("\u202e\udcff") & set((tmp_path / "t.jsonl").read_text("utf-8"))
