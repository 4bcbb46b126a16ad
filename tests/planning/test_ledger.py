import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from medscan.archive import ArchiveFile
from medscan.errors import DiskError, LedgerError
from medscan.inspect import forecast_scan
from medscan.planning.ledger import DecoderTrouble, Ledger
from medscan.results import Mark, Work
from medscan.scanning import scan
from tests import tiny


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


def work(content="c", maker="m", root="r", outcomes=(("a", "scanned", ""),)):
    return Work(content, maker, root, "t", [list(row) for row in outcomes])


def test_work_lasts(tmp_path):
    ledger = Ledger(tmp_path / "l")
    ledger.finish("study", work())
    ledger.finish("study", work(content="d"))
    ledger.close()
    again = Ledger(tmp_path / "l")
    assert again.work("study") == work(content="d")
    assert again.work("other") is None
    assert (again.below("r"), again.below("x")) == (["study"], [])
    assert (tmp_path / "l").stat().st_mode & 0o777 == 0o600
    again.close()


def test_marks_go_with_what_was_published(tmp_path):
    ledger = Ledger(tmp_path / "l")
    for study in "abc":
        ledger.finish(study, work())
    since = "2026-11-22T00:00:00+00:00"
    ledger.published("stamp", {"a": Mark(stale=True), "b": Mark(absent=since), "c": None})
    assert ledger.meta("results") == "stamp"
    assert (ledger.mark("a"), ledger.mark("b")) == (Mark(stale=True), Mark(absent=since))
    assert ledger.work("c") is None
    assert ledger.counts() == (2, 1, 1)
    ledger.restore([("z", work(), Mark(stale=True))], "other")
    assert ledger.counts() == (1, 1, 0)
    assert ledger.meta("results") == "other"
    ledger.close()


def test_trouble_is_counted_as_long_as_the_study_stays_the_same():
    ledger = Ledger(None)
    for _ in range(2):
        ledger.finish("a", work(), "its decoder died")
    assert not ledger.trouble("a").quarantined
    ledger.finish("a", work(content="grown"), "its decoder died")
    assert ledger.trouble("a").failures == 1
    for _ in range(2):
        ledger.finish("a", work(content="grown"), "its decoder hung")
    assert ledger.troubles() == [DecoderTrouble("a", "grown", 3, "its decoder hung")]
    assert ledger.trouble("a").quarantined
    ledger.finish("a", work(content="grown"))
    assert ledger.trouble("a") is None
    ledger.close()


def test_retry_and_forget():
    ledger = Ledger(None)
    ledger.finish("a", work(), "its decoder died")
    assert ledger.retry("a")
    assert not ledger.retry("a")
    assert ledger.work("a") == work()
    assert ledger.forget("a")
    assert ledger.work("a") is None
    assert not ledger.forget("a")
    ledger.close()


@pytest.mark.parametrize("where", [0, 4096])
def test_damage_is_told_from_other_trouble(tmp_path, where):
    ledger = Ledger(tmp_path / "l")
    ledger.restore([(f"{number:04d}", work(), Mark()) for number in range(200)], "")
    ledger.close()
    size = (tmp_path / "l").stat().st_size
    with (tmp_path / "l").open("r+b") as stream:
        stream.seek(where)
        stream.write(b"\xff" * (size - where))
    with pytest.raises(LedgerError, match="cannot be used"):
        _use(tmp_path / "l")


def test_damaged_names_that_sqlite_quotes_are_one_line(tmp_path):
    Ledger(tmp_path / "l").close()
    data = (tmp_path / "l").read_bytes()
    assert b"headersheaders" in data
    broken = data.replace(b"headersheaders", b"head\xafrshead\xafrs").replace(
        b"CREATE", b"CREA\xafE"
    )
    (tmp_path / "l").write_bytes(broken)
    with pytest.raises(LedgerError, match="is damaged"):
        _use(tmp_path / "l")


def _use(path):
    ledger = Ledger(path)
    try:
        for number in range(200):
            ledger.work(f"{number:04d}")
            ledger.meta("results")
            ledger.counts()
    finally:
        ledger.close()


def test_what_is_no_ledger_is_one_line(tmp_path):
    (tmp_path / "l").write_bytes(b"this is no database, it is text" * 100)
    with pytest.raises(LedgerError, match="not a database"):
        Ledger(tmp_path / "l")


def test_tables_of_another_version_are_made_anew(tmp_path):
    base = sqlite3.connect(tmp_path / "l")
    base.execute("CREATE TABLE work (study TEXT, old TEXT)")
    base.execute("INSERT INTO work VALUES ('a', 'b')")
    base.commit()
    base.close()
    ledger = Ledger(tmp_path / "l")
    assert ledger.work("a") is None
    ledger.close()


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "l").symlink_to(tmp_path / "victim")
    with pytest.raises(DiskError, match="cannot be written"):
        Ledger(tmp_path / "l")
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_locked_base_is_one_line(tmp_path):
    ledger = Ledger(tmp_path / "l")
    other = sqlite3.connect(tmp_path / "l", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    ledger._database.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(DiskError, match="locked"):
        ledger.put([(file(), "")])
    other.close()
    ledger.close()


def test_a_dry_run_neither_waits_for_a_scan_nor_holds_it_up(options, root):
    tiny.write_series(root / "a", tiny.head_volume(1, slices=2), study="1.1")
    scan(options)
    tiny.write_series(root / "b", tiny.head_volume(2, slices=2), study="1.2")
    before = options.outputs.ledger_path.read_bytes()
    assert forecast_scan(options).unchanged == 1
    assert options.outputs.ledger_path.read_bytes() == before
    options.outputs.ledger_path.write_bytes(b"no database" * 500)
    assert forecast_scan(options).unchanged == 1  # as the results say


def test_a_ledger_that_is_read_only_keeps_nothing_and_locks_nothing(tmp_path):
    Ledger(tmp_path / "ledger").close()
    reader = Ledger(tmp_path / "ledger", read_only=True)
    writer = Ledger(tmp_path / "ledger")
    reader.put([(file(), "header")])
    reader.remember("name", b"catalogue")
    assert reader.get([file()]) == [None]
    assert reader.recall("name") is None
    writer.note("a", "b")
    assert reader.meta("a") == "b"
    with pytest.raises(DiskError):
        Ledger(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()
