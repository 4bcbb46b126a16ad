"""Outputs that would destroy what is read are refused."""

import os
import sqlite3

import pytest

from medscan.errors import UsageError
from medscan.options import Outputs
from medscan.outputs import check_history, check_ledger, check_log, keep_apart
from medscan.report.cleanup import GENERATOR
from medscan.report.table import COLUMNS
from tests import tiny


def test_new_files_and_older_outputs_may_be_written(tmp_path):
    (tmp_path / "old.csv").write_text("a,b\n")
    keep_apart({"--csv": tmp_path / "old.csv", "--json": tmp_path / "new.json", "--out": None})
    keep_apart({"--csv": tmp_path / "old.csv"}, [tmp_path / "data.csv", tmp_path, None])


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_an_input_is_no_output_under_any_name(tmp_path, link):
    data = tmp_path / "data.csv"
    data.write_text("a,b\n")
    link(data, tmp_path / "other.csv")
    (tmp_path / "folder").mkdir()
    for path in (data, tmp_path / "folder" / ".." / "data.csv", tmp_path / "other.csv"):
        with pytest.raises(UsageError, match=r"--csv .* is read; name another"):
            keep_apart({"--csv": path}, [data])


def test_no_two_outputs_are_one_file(tmp_path):
    with pytest.raises(UsageError, match=r"--json .* itself writes that file"):
        keep_apart({"--csv": tmp_path / "a", "--json": tmp_path / "." / "a"})


def test_an_image_is_never_replaced(tmp_path):
    tiny.write_nifti(tmp_path / "v.nii", tiny.head_volume(1))
    tiny.write_series(tmp_path / "a", tiny.head_volume(1, slices=1))
    for path in (tmp_path / "v.nii", *(tmp_path / "a").iterdir()):
        with pytest.raises(UsageError, match="an image is there"):
            keep_apart({"--out": path})


@pytest.mark.parametrize("content", [b"DICM" * 100, b'{"EchoTime": 1}', b"a,b\n", b"\0" * 200])
def test_only_logs_and_ledgers_are_written_on(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is no log of medscan; name a new file"):
        check_log(path)
    with pytest.raises(UsageError, match="is no ledger of medscan; name a new file"):
        check_ledger(path)
    with pytest.raises(UsageError, match="is no history of medscan; name a new file"):
        check_history(path)
    path.write_bytes(b"")
    check_log(path)
    check_ledger(path)
    check_history(path)


def test_a_database_of_another_program_is_no_ledger(tmp_path):
    base = sqlite3.connect(tmp_path / "base")
    base.execute("CREATE TABLE work (a TEXT)")
    base.commit()
    check_ledger(tmp_path / "base")  # perhaps of an older version
    base.execute("PRAGMA application_id = 7")
    base.commit()
    base.close()
    with pytest.raises(UsageError, match="is no ledger"):
        check_ledger(tmp_path / "base")


@pytest.mark.parametrize("name", ["labels.csv", "labels.html"])
def test_a_table_that_is_no_worklist_is_not_replaced_by_one(tmp_path, name):
    outputs = Outputs(out=tmp_path / "labels.h5")
    (tmp_path / name).write_text("study,label\n1.2.3,normal\n")
    with pytest.raises(UsageError, match=f"{name} is no worklist"):
        outputs.check()
    (tmp_path / name).write_text(f"{','.join(COLUMNS)}\n{GENERATOR}")  # as its writers have it
    outputs.check()
    (tmp_path / name).write_text("rank;study\n")
    (tmp_path / "labels.h5").touch()
    outputs.check()  # its own, saved by a spreadsheet
