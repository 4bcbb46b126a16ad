"""What an earlier scan left, damaged or lost, is made good; nothing is scanned twice for it."""

import shutil
import sqlite3
import stat

import pytest

from medscan import results
from medscan.errors import LedgerError, LockedError, UsageError
from medscan.inspect import forecast_scan
from medscan.planning.ledger import Ledger
from medscan.planning.reconcile import forget
from medscan.scanning import run as module
from medscan.scanning import scan
from tests import tiny
from tests.content import content
from tests.options import changed


def scan_without_publishing(options, monkeypatch):
    """A scan that is killed when every part is written."""

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.results, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            scan(options)


@pytest.fixture
def three(root):
    for number in range(3):
        volume = tiny.head_volume(number, slices=2)
        tiny.write_series(root / str(number), volume, study=f"1.{number}")
    return root


def lose(path):
    path.unlink()


def overwrite(path):
    path.write_bytes(b"this is no database" * 500)


def damage_the_middle(path):
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xff" * (size - 4096))


def truncate(path):
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size // 2)


def misspell_json(path):
    base = sqlite3.connect(path)
    base.execute("UPDATE work SET outcomes = '[['")
    base.execute("DELETE FROM meta WHERE name = 'unchanged'")
    base.commit()
    base.close()


@pytest.mark.parametrize("harm", [lose, overwrite, damage_the_middle, truncate, misspell_json])
def test_a_ledger_is_made_again_from_the_results(options, three, harm):
    scan(options)
    before, published = content(options.outputs.out), options.outputs.out.read_bytes()
    harm(options.outputs.ledger_path)
    summary = scan(options)
    assert (summary.scanned, summary.unchanged) == (0, 3)
    assert content(options.outputs.out) == before
    assert options.outputs.out.read_bytes() == published
    damaged = options.outputs.ledger_path.with_name("results.h5.ledger.damaged")
    assert damaged.exists() == (harm is not lose)
    assert ("damaged ledger is now results.h5.ledger.damaged" in summary.line()) == (
        harm is not lose
    )
    assert scan(options).notes == []


def test_damage_that_shows_in_the_middle_of_a_scan_loses_nothing(options, three, monkeypatch):
    real, calls = Ledger.finish, []

    def finish(self, *told):
        calls.append(told)
        if len(calls) == 2:
            raise LedgerError("ledger cannot be used (database disk image is malformed)")
        real(self, *told)

    monkeypatch.setattr(Ledger, "finish", finish)
    summary = scan(options)
    assert len(results.open(options.outputs.out).keys()) == 3
    assert summary.unchanged == 2  # the part of the second was whole
    assert options.outputs.ledger_path.with_name("results.h5.ledger.damaged").exists()
    assert not options.outputs.parts.exists()


def test_without_ledger_and_results_the_parts_are_enough(options, three, monkeypatch):
    scan_without_publishing(options, monkeypatch)
    options.outputs.ledger_path.unlink()
    assert forecast_scan(options).unchanged == 3
    assert not options.outputs.ledger_path.exists()
    summary = scan(options)
    assert (summary.scanned, summary.unchanged) == (0, 3)
    assert len(results.open(options.outputs.out).keys()) == 3


@pytest.mark.parametrize("harm", [overwrite, truncate, damage_the_middle])
def test_a_damaged_part_is_set_aside_and_its_study_scanned_again(options, three, monkeypatch, harm):
    other = changed(options, out=options.outputs.out.with_name("other.h5"))
    scan(options)

    scan_without_publishing(other, monkeypatch)
    part = sorted(other.outputs.parts.glob("*.h5"))[1]
    harm(part)
    summary = scan(other)
    assert (summary.scanned, summary.unchanged) == (1, 2)
    (line,) = summary.damage
    assert line.startswith(f"unpublished results were damaged: study {part.stem} is scanned again")
    assert (other.outputs.damaged / part.name).exists()
    assert content(other.outputs.out) == content(options.outputs.out)


def test_parts_that_somebody_removed_are_scanned_again(options, three, monkeypatch):
    scan_without_publishing(options, monkeypatch)
    shutil.rmtree(options.outputs.parts)
    summary = scan(options)
    assert (summary.scanned, summary.unchanged) == (3, 0)
    assert len(results.open(options.outputs.out).keys()) == 3


def test_results_put_back_from_a_backup_are_believed_and_not_the_ledger(options, three, tmp_path):
    scan(options)
    shutil.copy(options.outputs.out, tmp_path / "backup.h5")
    tiny.write_series(three / "new", tiny.head_volume(9, slices=2), study="1.9")
    scan(options)
    shutil.copy(tmp_path / "backup.h5", options.outputs.out)
    assert forecast_scan(options).unchanged == 3
    summary = scan(options)
    assert (summary.scanned, summary.unchanged) == (1, 3)
    assert len(results.open(options.outputs.out).keys()) == 4


def test_a_ledger_may_serve_two_results_files(options, three, tmp_path):
    shared = tmp_path / "shared.ledger"
    one = changed(options, ledger=shared)
    two = changed(one, out=tmp_path / "two.h5")
    for _ in range(2):
        assert scan(one).scanned + scan(two).scanned in (6, 0)
    assert (
        len(results.open(two.outputs.out).keys()) == len(results.open(one.outputs.out).keys()) == 3
    )


def test_the_key_is_made_once_and_only_its_owner_reads_it(options, three, tmp_path):
    options = changed(options, key_file=None)
    scan(options)
    assert options.outputs.key_path.name == "results.h5.key"
    key = options.outputs.key_path.read_bytes()
    assert stat.S_IMODE(options.outputs.key_path.stat().st_mode) == 0o600
    other = changed(options, out=tmp_path / "other.h5", key_file=options.outputs.key_path)
    scan(other)
    assert options.outputs.key_path.read_bytes() == key
    told = [
        {s.info["patient"] for s in results.open(o.outputs.out).studies()} for o in (options, other)
    ]
    assert told[0] == told[1]
    assert len(told[0]) == 1


def test_pseudonyms_never_change_silently(options, three):
    scan(options)
    before = options.outputs.out.read_bytes()
    key = options.outputs.key_path.read_text()
    options.outputs.key_path.unlink()
    with pytest.raises(UsageError, match="is missing: without it patients"):
        scan(options)
    options.outputs.key_path.write_text("0" * 64)
    with pytest.raises(UsageError, match="is not the key file that"):
        scan(options)
    for wrong in ("", "xyz", key[:-2], key + "00", "\udce9"):
        options.outputs.key_path.write_text(wrong, errors="surrogateescape")
        with pytest.raises(UsageError, match="is not a key file"):
            scan(options)
    options.outputs.key_path.write_text(key)
    assert scan(options).unchanged == 3
    assert options.outputs.out.read_bytes() == before


def test_a_key_is_not_read_through_a_link(options, three, tmp_path):
    options.outputs.key_path.unlink()
    (tmp_path / "secret").write_text("0" * 64)
    options.outputs.key_path.symlink_to(tmp_path / "secret")
    with pytest.raises(UsageError, match="is not a regular file"):
        scan(options)
    assert options.outputs.key_path.is_symlink()


def test_with_another_key_parts_are_scanned_again(options, three, monkeypatch):
    scan_without_publishing(options, monkeypatch)
    options.outputs.key_path.unlink()
    assert scan(options).scanned == 3
    assert len({s.info["patient"] for s in results.open(options.outputs.out).studies()}) == 1


def test_two_scans_do_not_use_one_ledger_at_once(options, three, tmp_path):
    one = changed(options, ledger=tmp_path / "shared.ledger")
    two, met = changed(one, out=tmp_path / "two.h5"), []

    def meanwhile(*_):
        if not met:
            met.append(True)
            with pytest.raises(LockedError, match=r"shared\.ledger is in use by process"):
                scan(two)

    scan(one, meanwhile)
    assert met == [True]
    assert scan(two).scanned == 3
    assert (
        len(results.open(two.outputs.out).keys()) == len(results.open(one.outputs.out).keys()) == 3
    )


def test_a_study_that_is_forgotten_leaves_no_part(options, three, monkeypatch):
    scan_without_publishing(options, monkeypatch)
    key = min(options.outputs.parts.glob("*.h5")).stem
    ledger = Ledger(options.outputs.ledger_path)
    assert forget(ledger, options.outputs.out, key)
    assert not forget(ledger, options.outputs.out, key)
    assert not forget(ledger, options.outputs.out, f"../{options.outputs.parts.name}/{key}")
    ledger.close()
    assert len(list(options.outputs.parts.glob("*.h5"))) == 2
    assert scan(options).scanned == 1
