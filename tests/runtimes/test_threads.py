"""Cores are counted as PyTorch counts them, and PyTorch is not imported for that."""

import os
import subprocess
import sys

import pytest
import torch

from medscan.runtimes import cores, one_thread, threads

COUNT = """
import sys
from medscan.runtimes import cores
found = cores()
assert "torch" not in sys.modules
import torch
print(found, torch.get_num_threads(), cores())
"""


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"OMP_NUM_THREADS": "1000000"},
        {"MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "2,4"},
    ],
)
def test_cores_are_as_many_as_pytorch_has_threads(told, environment):
    kept = {key: value for key, value in environment.items() if key not in threads.TOLD}
    command = [sys.executable, "-c", COUNT]
    done = subprocess.run(command, env=kept | told, check=True, capture_output=True, text=True)
    without, pytorchs, beside = done.stdout.split()
    assert without == pytorchs == beside


@pytest.fixture
def no_torch(monkeypatch):
    """As in a process that has not imported it, and with nothing told by the environment."""
    monkeypatch.delitem(sys.modules, "torch")
    for name in threads.TOLD:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_threads_of_one_core_count_once(no_torch, tmp_path):
    for number in range(8):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{number % 4},{number % 4 + 4}\n")
    no_torch.setattr(threads, "TOPOLOGY", tmp_path)
    no_torch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4, 5, 6})
    assert cores() == 3


@pytest.mark.parametrize("told", ["", "0", "-1", "many", "1e9"])
def test_what_is_no_number_does_not_count(told, no_torch, tmp_path):
    no_torch.setenv("OMP_NUM_THREADS", told)
    no_torch.setattr(threads, "TOPOLOGY", tmp_path)
    no_torch.setattr(os, "sched_getaffinity", lambda _: {2, 5})
    assert cores() == 2


def test_pytorch_has_one_thread_inside():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)
