"""A scan keeps the template of links that it was given, until it is given another."""

from pathlib import Path

import pytest

from medscan import results
from tests import tiny

LINK = "https://viewer.example/{StudyInstanceUID}"


def kept():
    return results.open("results.h5").run().link_template


def test_results_keep_a_template_until_it_is_changed(inside, root, detector_file):
    tiny.write_series(root / "a", tiny.head_volume(1, slices=2), study="1.2.77.1")
    scan = ("scan", root, "--detector", detector_file, "--workers", 0)
    address = "https://viewer.example/1.2.77.1"
    assert inside(*scan)[0] == 0
    assert (kept(), address in Path("results.html").read_text()) == ("", False)
    code, _, _ = inside(*scan, "--link-template", LINK)
    assert (code, kept()) == (0, LINK), "also where nothing else is new"
    assert address in Path("results.html").read_text()
    tiny.write_series(root / "b", tiny.head_volume(2, slices=2))
    assert inside(*scan)[0] == 0
    assert kept() == LINK, "a scan that does not name it keeps it"
    assert inside("report", "results.h5")[0] == 0
    assert address in Path("results.report/index.html").read_text()
    assert inside("report", "results.h5", "--link-template", "")[0] == 0
    assert address not in Path("results.report/index.html").read_text()
    assert inside(*scan, "--link-template", "")[0] == 0
    assert (kept(), address in Path("results.html").read_text()) == ("", False)


@pytest.mark.parametrize("command", ["scan", "report"])
def test_a_bad_template_is_refused_in_a_line(inside, root, command):
    bad = "javascript://\x1b[31m{StudyInstanceUID}"
    code, out, err = inside(command, root, "--link-template", bad)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "begins with http:// or https://" in err
    assert "\x1b" not in err
    assert list(Path().iterdir()) == []
