"""The benchmark of fitting runs to its end, and its two sides compute the same losses."""

import re

import pytest

from tests.benchmarks import fit_speed


@pytest.mark.parametrize("method", ["mvfa", "madclip"])
def test_the_benchmark_of_fitting_compares_equal_losses(
    method, backbone_folder, monkeypatch, capsys
):
    words = [method, "--shots", "1", "--steps", "2", "--backbone", f"local-dir:{backbone_folder}"]
    monkeypatch.setattr("sys.argv", ["fit_speed.py", *words])
    fit_speed.main()
    told = re.fullmatch(r"(\w+): .* losses of 2 steps within (\S+)\n", capsys.readouterr().out)
    assert told is not None
    assert told[1] == method
    assert float(told[2]) < 1e-4
