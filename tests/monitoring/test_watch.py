"""A history of nights: what is kept of results, and what is noticed in it."""

import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from medscan.archive import key_of
from medscan.errors import UsageError
from medscan.monitoring import Entry, History, plain, record, watch, write_page
from medscan.monitoring.history import entries_of, night_of
from tests.report import make

DEVICE = ["SIEMENS", "Skyra", "E11", "ab12cd34", "BRAIN FLAIR MR axial TE 120"]


def site(nights=30, each=12, scanners=3, seed=0):
    """A month in which scanner 1 gets other software on night 18, and scores move by one."""
    rng = np.random.default_rng(seed)
    for night in range(nights):
        for scanner in range(scanners):
            new = scanner == 1 and night >= 17
            for number in range(each):
                yield Entry(
                    study=f"{night}-{scanner}-{number}",
                    stack="s1",
                    detector="d" * 64,
                    name="brain-flair",
                    night=f"2026-11-{night + 1:02d}",
                    score=float(rng.normal(1.0 * new)),
                    flagged=False,
                    uncertain=False,
                    failed=False,
                    manufacturer=("SIEMENS", "PHILIPS")[scanner == 2],
                    model=f"model {scanner}",
                    software="XA30" if new else "E11",
                    scanner=f"serial{scanner}",
                    protocol="FLAIR",
                )


def test_the_scanner_the_night_and_the_software_are_named():
    watched = watch(list(site()), {})
    first = {str(alarm.stratum): alarm for alarm in watched.alarms}
    alarm = first["scanner SIEMENS model 1 serial1"]
    assert abs(int(alarm.began[-2:]) - 18) <= 1
    assert 18 <= int(alarm.noticed[-2:]) <= 24
    assert alarm.sentence.endswith("at that time: software XA30 for the first time (before: E11)")
    assert "scores are higher since the night of 2026-11-1" in alarm.sentence
    assert not {"scanner SIEMENS model 0 serial0", "scanner PHILIPS model 2 serial2"} & set(first)


def test_nothing_is_noticed_where_nothing_changes():
    calm = [replace(entry, software="E11") for entry in site() if entry.scanner != "serial1"]
    assert watch(calm, {}).alarms == ()
    assert watch([], {}).lines == ()


def test_other_causes_that_came_long_before_are_not_named():
    entries = [
        replace(entry, protocol="FLAIR 2" if entry.night > "2026-11-05" else "FLAIR")
        for entry in site()
    ]
    alarm = next(a for a in watch(entries, {}).alarms if a.stratum.variable == "scanner")
    assert not any("protocol" in cause for cause in alarm.changed)


def test_failures_are_noticed_too():
    entries = [
        replace(e, score=0.1, failed=e.scanner == "serial2" and e.night > "2026-11-10")
        for e in site()
        if e.scanner != "serial1"
    ]
    alarms = [a for a in watch(entries, {}).alarms if a.stratum.variable == "scanner"]
    assert [(a.measure, a.how, a.stratum.value) for a in alarms] == [
        ("failures", "are more frequent", "PHILIPS model 2 serial2")
    ]


def test_distances_from_the_shots_are_noticed_before_the_scores_move():
    entries = [
        replace(e, score=0.1, distance=0.5 + e.score / 10, unlike=e.score > 3) for e in site()
    ]
    alarm = next(a for a in watch(entries, {}).alarms if a.stratum.variable == "scanner")
    assert "distances from its shots are higher since the night of 2026-11-1" in alarm.sentence
    line = next(one for one in watch(entries, {}).lines if one.stratum.variable == "all")
    assert sum(line.unlike) == sum(e.unlike for e in entries) > 0


def test_the_order_of_rows_changes_nothing_and_so_does_looking_twice():
    entries = list(site(nights=8))
    mixed = sorted(entries, key=lambda entry: (entry.night, key_of(entry.study)))
    assert watch(entries, {}) == watch(mixed, {})


def test_verdicts_give_ppv_by_month():
    entries = [replace(e, flagged=True) for e in site(nights=2, each=2, scanners=1)]
    verdicts = dict(zip((e.study for e in entries), ("abnormal", "normal", "unsure"), strict=False))
    (found,) = watch(entries, verdicts).precision
    assert (found.month, found.abnormal, found.judged) == ("2026-11", 1, 2)
    assert (found.share.value, found.share.low) == (0.5, pytest.approx(0.0126, abs=1e-4))


# --- the file -------------------------------------------------------------------------------------


def results(tmp_path, name="night.h5", **info):
    scanned = {"scanned": "2026-11-03T01:00:00+00:00", "device": DEVICE} | info
    stacks = [make.stack("s1", **scanned), make.stack("s2", 0.4, **scanned)]
    return make.results(tmp_path, [make.study("aaa", stacks), make.study("bbb")], name=name)


def test_a_night_begins_at_noon():
    assert night_of("2026-11-03T11:59:00+00:00") == "2026-11-02"
    assert night_of("2026-11-03T12:00:00+00:00") == "2026-11-03"
    assert night_of("") == night_of("0001-01-01T00:00:00") == ""


def test_a_scan_is_added_once(tmp_path):
    found = results(tmp_path)
    with History(tmp_path / "site.history") as history:
        assert history.add(found) == 2
        assert history.add(found) == 0
        (first, second) = history.entries()
    assert first == next(iter(entries_of(found)))
    assert (first.night, first.software, first.flagged, second.flagged) == (
        *("2026-11-02", "E11", True),
        False,
    )
    assert (tmp_path / "site.history").stat().st_mode & 0o777 == 0o600
    # Scored again in a later night: the first night stays.
    again = results(tmp_path, "again.h5", scanned="2026-11-05T01:00:00+00:00")
    with History(tmp_path / "site.history", existing=True) as history:
        assert history.add(again) == 0
        assert {entry.night for entry in history.entries()} == {"2026-11-02"}
        assert history.entries("2026-11-03") == []


def test_what_is_unlike_the_shots_is_kept(tmp_path):
    found = results(tmp_path, unlike=["its slices look different"], distance=1.5)
    with History(tmp_path / "site.history") as history:
        history.add(found)
        assert [(e.unlike, e.distance) for e in history.entries()] == [(True, 1.5)] * 2


def test_a_history_of_the_version_before_is_gone_on_with(tmp_path):
    path = tmp_path / "site.history"
    record(path, results(tmp_path).path)
    with sqlite3.connect(path) as database:
        for column in ("unlike", "distance"):
            database.execute(f"ALTER TABLE stacks DROP COLUMN {column}")
        database.execute("PRAGMA user_version = 1")
    database.close()
    later = results(tmp_path, "later.h5", unlike=["x"], distance=2.0)
    with History(path) as history:
        old = history.entries()
        assert [entry.unlike for entry in old] == [False, False]
        assert all(np.isnan(entry.distance) for entry in old)
        history.put(replace(e, study="bbb") for e in entries_of(later))
        assert {(e.study, e.unlike) for e in history.entries()} == {("aaa", False), ("bbb", True)}


def test_what_is_no_history_is_refused_and_left_alone(tmp_path):
    text, other = tmp_path / "text", tmp_path / "other.sqlite"
    text.write_text("a text that is long enough to be taken for a database" * 100)
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (a)")
    database.close()
    before = other.read_bytes()
    for path in (text, other):
        with pytest.raises(UsageError, match="is no history"):
            History(path)
    assert other.read_bytes() == before
    with pytest.raises(UsageError, match="does not exist; scans write it with --history"):
        History(tmp_path / "none", existing=True)


def test_a_row_of_another_kind_is_damage(tmp_path):
    record(tmp_path / "site.history", results(tmp_path).path)
    with sqlite3.connect(tmp_path / "site.history") as database:
        database.execute("UPDATE stacks SET night = 'never' WHERE stack = 's1'")
    database.close()
    with (
        History(tmp_path / "site.history") as history,
        pytest.raises(UsageError, match="is damaged"),
    ):
        history.entries()


def test_verdicts_are_read_as_the_report_saves_them(tmp_path):
    record(tmp_path / "site.history", results(tmp_path).path)
    table = tmp_path / "d.csv"
    with History(tmp_path / "site.history") as history:
        table.write_text("study,verdict,stack,slice\naaa,normal,s1,3\nother,abnormal,,\n")
        assert history.judge(table) == 0
        table.write_text("study,verdict,stack,slice\naaa,normal,,\naaa,abnormal,s1,3\n")
        assert history.judge(table) == 1
        assert history.verdicts() == {"aaa": "abnormal"}
        table.write_text("study,verdict\naaa,ill\n")
        with pytest.raises(UsageError, match="row 2: unknown verdict 'ill'"):
            history.judge(table)


def test_the_page_has_a_line_per_stratum_and_runs_nothing(tmp_path):
    entries = [replace(e, manufacturer="<b>", name="x<script>") for e in site()]
    watched = watch(entries, {entries[0].study: "normal"})
    write_page(watched, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count('<path class="line"') == 2 * len(watched.lines) == 2 * 9
    assert "alarms: stop, and look for the cause." in page
    assert "&lt;b&gt; model 1 serial1" in page
    assert "<b> model 1" not in page
    assert "x<script>" not in page
    assert "Content-Security-Policy" in page
    assert plain(watched)["alarms"][0]["sentence"]
