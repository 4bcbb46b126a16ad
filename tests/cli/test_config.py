"""The defaults of a site: which file holds, what it may say, and that the command line wins."""

import json
from pathlib import Path

import pytest

from medscan import results
from medscan.cli.config import config_path
from tests import tiny

LINK = "https://viewer.example/{StudyInstanceUID}"


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Writes the file that the environment names."""
    path = tmp_path / "site.toml"
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)  # doctor lists what is set
    monkeypatch.setenv("MEDSCAN_CONFIG", str(path))

    def write(text):
        path.write_text(text)
        return path

    return write


BY_TESTS = ("OMP_NUM_THREADS", "MEDSCAN_CONFIG", "MEDSCAN_FEATURE_CACHE", "MEDSCAN_RUNTIME")
"""What tests/conftest.py sets."""


@pytest.fixture
def set_options(inside, config):
    """What `medscan doctor` says is set, as (name, value, origin)."""

    def told(text=None):
        if text is not None:
            config(text)
        code, out, err = inside("doctor", "--json")
        assert code == 0, err
        rows = [(row["name"], row["value"], row["origin"]) for row in json.loads(out)["settings"]]
        return [row for row in rows if row[0] not in BY_TESTS]

    return told


def test_a_scan_takes_what_the_file_says_and_records_it(
    inside, config, root, detector_file, tmp_path
):
    tiny.write_series(root / "a", tiny.head_volume(1, slices=2), study="1.2.77.1")
    config(
        f'detector = "{detector_file}"\nkey-file = "{tmp_path}/key"\nlink-template = "{LINK}"\n'
        f'[scan]\nout = "{tmp_path}/night.h5"\nledger = "{tmp_path}/ledger"\nworkers = 0\n'
        "identify = true\nsettle = 0\n"
    )
    code, _, err = inside("scan", root, "--no-identify")
    assert (code, err) == (0, "")
    run = results.open(tmp_path / "night.h5").run()
    assert (run.link_template, run.identify) == (LINK, False), "the command line wins"
    assert [facts["name"] for facts in run.detectors] == [detector_file.stem]
    assert {"key", "ledger"} <= {path.name for path in tmp_path.iterdir()}
    assert list(Path().iterdir()) == [], "nothing beside what the file names"
    for word in ("--detector", "--key-file key", f"--link-template '{LINK}'", "--workers 0"):
        assert word in run.command
    assert "--identify" not in run.command
    (study,) = results.open(tmp_path / "night.h5").keys()
    code, out, _ = inside("locate", tmp_path / "night.h5", study, "--archive", root)
    assert (code, len(out.splitlines())) == (0, 2), "the key is that of the file"


def test_a_table_and_the_environment_come_before_what_is_shared(
    set_options, inside, config, root, monkeypatch, tmp_path
):
    tiny.write_series(root / "a", tiny.head_volume(1, slices=2))
    text = f'key-file = "{tmp_path}/shared"\nworkers = 1\n[scan]\nkey-file = "{tmp_path}/own"\n'
    assert [name for name, *_ in set_options(text)] == [
        "key-file",
        "workers",
        "[scan] key-file",
    ]
    assert inside("scan", root)[0] == 0
    assert ((tmp_path / "own").exists(), (tmp_path / "shared").exists()) == (True, False)
    monkeypatch.setenv("MEDSCAN_KEY_FILE", str(tmp_path / "site"))
    assert inside("scan", root, "--out", "two.h5")[0] == 0
    assert (tmp_path / "site").exists()
    origins = {name: origin for name, _, origin in set_options()}
    assert origins["MEDSCAN_KEY_FILE"] == "the environment"
    assert origins["[scan] key-file"].endswith("site.toml, but $MEDSCAN_KEY_FILE comes first")


def test_a_list_on_the_command_line_replaces_that_of_the_file(inside, config, detector_file, root):
    config('detector = ["brain-flair", "no-such-detector"]')
    tiny.write_series(root / "a", tiny.head_volume(1, slices=2))
    assert inside("scan", root, "--detector", detector_file, "--workers", 0)[0] == 0
    code, _, err = inside("scan", root)
    assert (code, "no-such-detector" in err) == (2, True)


def test_the_current_folder_is_not_searched(inside, monkeypatch, tmp_path, set_options):
    Path("medscan.toml").write_text("[scan]\nidentify = true")
    monkeypatch.delenv("MEDSCAN_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "config" / "medscan" / "medscan.toml"
    assert set_options() == [("defaults", "none", f"there is no {path}")]
    path.parent.mkdir(parents=True)
    path.write_text("[scan]\nstrict = true")
    assert set_options() == [("[scan] strict", "true", str(path))]
    monkeypatch.setenv("MEDSCAN_CONFIG", "")
    assert set_options() == [("defaults", "none", "$MEDSCAN_CONFIG is empty")]


def test_a_command_runs_without_a_home_or_access_to_it(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEDSCAN_CONFIG")
    Path("medscan").mkdir()
    Path("medscan/medscan.toml").write_text("[scan]\nidentify = true")
    monkeypatch.setenv("XDG_CONFIG_HOME", ".")  # the XDG specification ignores it
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_path() is None
    monkeypatch.setattr("os.path.expanduser", str)  # as where no home can be found
    assert config_path() is None
    monkeypatch.setattr("pathlib.Path.exists", lambda _: 1 / 0)  # raises where access is denied
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    assert config_path() is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("detectors = []", "detectors: no such option; did you mean detector?"),
        ('out = "/x"', "out: belongs into the table of a command, such as [scan]"),
        ("[scan]\nkey_file = 1", "[scan] key_file: medscan scan has no such option; did you mean"),
        ("[scan]\narchive = 1", "[scan] archive: medscan scan has no such option"),
        ('[scan]\n"\\u001b[31m\\u202e" = 1', "[scan] \\x1b[31m\\u202e: medscan scan has no such"),
        ("[scna]\na = 1", "[scna]: no such command; did you mean scan?"),
        ("[ledger.shwo]\na = 1", "[ledger.shwo]: no such command; did you mean show?"),
        ("[ledger]\njson = true", "[ledger.json]: no such command"),
        ("[verify]\nsmaple = 1", "did you mean sample?"),  # also in tables of other commands
        ("scan = 3", "[scan]: a table"),
        ('[scan]\nworkers = "many"', "[scan] workers: must be a whole number, without quotes"),
        ("[scan]\nworkers = true", "[scan] workers: must be a whole number, without quotes"),
        ("[scan]\nworkers = -3", "[scan] workers: Input should be greater than or equal to 0"),
        ("[scan]\nworkers = [1]", "[scan] workers: must be one value, not a list"),
        ('[scan]\nfile-timeout = "1"', "[scan] file-timeout: must be a number, without quotes"),
        ("[scan]\nmax-studies = 1.5", "[scan] max-studies: must be a whole number"),
        ('[scan]\nidentify = "yes"', "[scan] identify: must be true or false, without quotes"),
        ('[scan]\nout = "x.h5"', "[scan] out: x.h5: write the whole path, from / or ~/"),
        ('[scan]\nout = "~nobody-here/x.h5"', "[scan] out: ~nobody-here/x.h5: write the whole"),
        ('[scan]\nout = "/x\\u0000.h5"', "[scan] out: must not have a NUL character in it"),
        ("detector = 3", "detector: must be a text in quotes"),
        ('detector = "a/b"', "detector: a/b: write the whole path"),
        ("[scan.out]\na = 1", "[scan] out: must be a text in quotes"),
        ('[scan]\nuntil = "25:00"', "[scan] until: --until 25:00: a time of day, such as 06:00"),
        ("[scan]\nuntil = 06:00:00", "[scan] until: must be a number, or a text in quotes"),
        ('[scan]\nprecision = "fp8"', "[scan] precision: 'fp8' is not one of 'auto', 'fp32'"),
        ('link-template = "javascript:x"', "link-template: --link-template javascript:x: an add"),
        ("x = [", "is not TOML: "),
        ("x" * (1 << 20) + "=1", "is too large"),
        ("x = " + "[" * 100_000, "is not TOML: "),
    ],
)
@pytest.mark.parametrize("command", ["scan", "doctor"])
def test_a_mistake_is_one_line(inside, config, root, text, why, command):
    path = config(text)
    code, out, err = inside(command, *[root] * (command == "scan"))
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(f"medscan: {path}")
    assert why in err
    assert list(Path().iterdir()) == []


def test_a_file_that_cannot_be_read(inside, config, monkeypatch, tmp_path):
    path = config("")
    path.write_bytes(b"\xff\xfe")
    assert "is not TOML" in inside("doctor")[2]
    monkeypatch.setenv("MEDSCAN_CONFIG", str(tmp_path / "none.toml"))
    assert "none.toml: there is no such file" in inside("doctor")[2]
    monkeypatch.setenv("MEDSCAN_CONFIG", "/dev/zero")
    code, _, err = inside("doctor")
    assert (code, "there is no such file" in err) == (2, True)
    assert inside("scan", "--help")[0] == 0, "help does not need it"


def test_what_a_scan_of_the_file_would_use_is_examined(inside, config, detector_file, tmp_path):
    config(f'detector = "{detector_file}"\n[scan]\nout = "{tmp_path}/there/night.h5"')
    code, out, err = inside("doctor", "--json")
    assert (code, f"{tmp_path}/there is not a folder" in err) == (1, True)
    assert [row["path"] for row in json.loads(out)["detectors"]] == [str(detector_file)]
    code, out, err = inside("doctor", "--out", "night.h5", "--json")
    assert (code, err) == (0, "")
