from dataclasses import replace
from pathlib import Path

import pytest

from medscan.archive import ArchiveFile
from medscan.errors import DiskError
from medscan.scan.ledger import Finished, Ledger


def file(path="a/b", size=3, mtime_ns=5):
    return ArchiveFile(path, Path("/archive"), size, mtime_ns)


def test_headers_are_known_until_the_file_changes(tmp_path):
    ledger = Ledger(tmp_path / "l")
    ledger.put([(file(), "first"), (file("caf\udce9"), "second")])
    ledger.put([(file("other"), "third")])
    ledger.commit()
    ledger.close()
    again = Ledger(tmp_path / "l")
    asked = [file("none"), file("caf\udce9"), file(), file(size=4), file(mtime_ns=6)]
    assert again.get(asked) == [None, "second", "first", None, None]
    assert again.get([replace(file(), root=Path("/elsewhere"))]) == [None]
    assert again.get([]) == []
    again.close()


def test_work_and_the_pseudonym_key_last(tmp_path):
    ledger = Ledger(tmp_path / "l")
    key = ledger.pseudonym_key()
    ledger.finish("study", Finished("w1", "/a", "t", [["a", "scanned", ""]]))
    ledger.finish("study", Finished("w2", "/a", "t", [["a", "corrupt", "x"]]))
    ledger.close()
    again = Ledger(tmp_path / "l")
    assert again.work() == {"study": Finished("w2", "/a", "t", [["a", "corrupt", "x"]])}
    assert again.pseudonym_key() == key
    assert len(key) == 32
    assert (tmp_path / "l").stat().st_mode & 0o777 == 0o600
    again.close()


def test_what_is_no_ledger_is_one_line(tmp_path):
    (tmp_path / "l").write_bytes(b"this is no database, it is text" * 100)
    with pytest.raises(DiskError, match="move it away"):
        Ledger(tmp_path / "l")


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "l").symlink_to(tmp_path / "victim")
    with pytest.raises(DiskError, match="cannot be written"):
        Ledger(tmp_path / "l")
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_locked_base_is_one_line(tmp_path):
    import sqlite3

    ledger = Ledger(tmp_path / "l")
    other = sqlite3.connect(tmp_path / "l", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    ledger._base.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(DiskError, match="locked"):
        ledger.put([(file(), "")])
    other.close()
    ledger.close()
