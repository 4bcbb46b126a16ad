"""`import medscan` costs nothing, and offers what medscan(3) says whatever was imported before."""

import json
import re
import rlcompleter
import subprocess
import sys
from pathlib import Path

import pytest

import medscan
from medscan import api

MAN = Path(__file__).parents[2] / "man" / "medscan.3"
HEAVY = ["torch", "numpy", "pydicom", "h5py", "open_clip", "logging", "medscan.api"]


def in_python(code, environment):
    """What a fresh Python prints as JSON."""
    words = [sys.executable, "-c", f"import json, sys\n{code}"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_the_import_loads_no_library_and_changes_nothing(environment):
    code = """
import os, threading
before = dict(os.environ), threading.active_count()
import medscan
assert (dict(os.environ), threading.active_count()) == before
medscan.errors.UsageError, medscan.__version__
before = sorted(sys.modules)
medscan.open_results
import logging
logging.getLogger("medscan.scan").warning("nobody asked for it")
print(json.dumps([before, dir(medscan), "torch" in sys.modules]))
"""
    modules, names, torch = in_python(code, environment)
    assert not torch  # reading results needs none
    assert set(HEAVY) & set(modules) == set()
    assert names == dir(medscan)


@pytest.mark.parametrize("first", ["", "medscan.fitting.run, medscan.scanning.run"])
def test_the_functions_keep_their_names_whatever_was_imported(first, environment):
    code = f"""
{f"import {first}" if first else ""}
import medscan
from medscan import scan
from medscan.scanning import LocalEngine
found = [medscan.scan, medscan.fit, scan, medscan.open_results, medscan.Detector.load]
print(json.dumps([f.__module__ + "." + f.__name__ for f in found]))
"""
    scan = "medscan.api.runs.scan"
    assert in_python(code, environment) == [
        scan,
        "medscan.api.runs.fit",
        scan,
        "medscan.api.results.open_results",
        "medscan.api.detector.load",
    ]


def test_the_interface_is_listed_and_completed():
    assert dir(medscan) == sorted([*api.__all__, "__version__", "errors"])
    completer = rlcompleter.Completer({"medscan": medscan})
    assert completer.complete("medscan.open", 0) == "medscan.open_results("
    assert all(getattr(medscan, name).__doc__ for name in api.__all__)


def test_a_name_that_is_not_there_is_named():
    with pytest.raises(AttributeError, match="no attribute 'scam'"):
        medscan.scam  # noqa: B018
    with pytest.raises(ImportError):
        from medscan import scam  # noqa: F401


def test_the_manual_tells_every_name():
    text = MAN.read_text("utf-8")
    told = set(re.findall(r"\w+", " ".join(re.findall(r"^\.(?:It|Fn|Va).*$", text, re.M))))
    for kind in (api.Detector, api.Results, api.Study, api.Scores):
        names = {name for name in vars(kind) if not name.startswith("_")}
        assert names - told == set(), kind
    assert set(api.__all__) - told == set()
