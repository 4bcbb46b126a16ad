"""One rule finds the key of a site: the option, the environment, the file beside the results."""

from pathlib import Path

import pytest

from medscan import results
from medscan.planning import fingerprint_of, read_key
from tests import tiny


@pytest.fixture
def scan(inside, root, detector_file):
    """Scans a volume, whose source is found by the key alone, and returns the status."""
    tiny.write_nifti(root / "head.nii.gz", tiny.head_volume(1, slices=3))

    def run(*words):
        return inside("scan", root, "--detector", detector_file, "--workers", 0, *words)

    return run


def keys():
    return sorted(path.name for path in Path().iterdir() if "key" in path.name)


def test_the_environment_names_the_key_of_a_site(
    scan, inside, root, detector_file, monkeypatch, tmp_path
):
    site = tmp_path / "site"
    monkeypatch.setenv("MEDSCAN_KEY_FILE", str(site))
    assert scan()[0] == 0
    assert keys() == [], "no key beside the results"
    assert site.stat().st_mode & 0o777 == 0o600
    assert results.open("results.h5").key_fingerprint() == fingerprint_of(read_key(site))
    (study,) = results.open("results.h5").keys()
    code, out, _ = inside("locate", "results.h5", study, "--archive", root)
    assert (code, out) == (0, f"{root / 'head.nii.gz'}\n")
    for words in (("report",), ("export", "--to", "nifti", "--with-source")):
        code, _, err = inside(words[0], "results.h5", *words[1:], "--archive", root)
        assert (code, err) == (0, ""), words
    words = ("verify", "results.h5", "--archive", root, "--detector", detector_file)
    assert inside(*words)[0] == 0


def test_the_option_wins_and_beside_the_results_comes_last(scan, monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSCAN_KEY_FILE", "")
    assert scan("--out", "beside.h5")[0] == 0
    assert keys() == ["beside.h5.key"]
    monkeypatch.setenv("MEDSCAN_KEY_FILE", str(tmp_path / "site"))
    assert scan("--out", "named.h5", "--key-file", "my.key")[0] == 0
    assert keys() == ["beside.h5.key", "my.key"]
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("command", ["report", "export", "locate", "scan"])
def test_the_key_of_other_results_is_refused_by_all(
    scan, inside, root, monkeypatch, tmp_path, command
):
    assert scan()[0] == 0
    (tmp_path / "site").write_text("11" * 32)
    monkeypatch.setenv("MEDSCAN_KEY_FILE", str(tmp_path / "site"))
    (study,) = results.open("results.h5").keys()
    if command == "scan":
        code, _, err = scan()
    else:
        more = (study,) if command == "locate" else ()
        code, _, err = inside(command, "results.h5", *more, "--archive", root)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "site is not the key file that results.h5 was made with" in err
