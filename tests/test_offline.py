import os
import sys
import types

import pytest

from medscan.offline import OFFLINE, stay_offline, without


def test_a_library_is_missing_only_meanwhile(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with without("colorsys"), pytest.raises(ImportError):
        import colorsys
    import colorsys

    assert colorsys


def test_a_library_that_is_in_use_stays(monkeypatch):
    used = types.ModuleType("in_use")
    monkeypatch.setitem(sys.modules, "in_use", used)
    with without("in_use"):
        assert sys.modules["in_use"] is used
    assert sys.modules["in_use"] is used


def test_the_hub_is_out_of_reach_even_for_those_who_want_it(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    for name in OFFLINE:
        monkeypatch.setenv(name, "0")
    stay_offline()
    assert {os.environ[name] for name in OFFLINE} == {"1"}


@pytest.mark.parametrize(("words", "value"), [("weights pull x", "0"), ("weights list", "1")])
def test_only_a_pull_may_use_the_network(inside_words, monkeypatch, words, value):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    inside_words(words)
    assert os.environ["HF_HUB_OFFLINE"] == value


@pytest.fixture
def inside_words(monkeypatch, tmp_path):
    """Runs medscan with these words, which ends it at once."""
    from medscan import cli

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for name in OFFLINE:
        monkeypatch.setenv(name, "0")

    def run(words):
        monkeypatch.setattr(sys, "argv", ["medscan", *words.split()])
        monkeypatch.setattr(cli, "tree", lambda: lambda **_: None)
        cli.main()

    return run
