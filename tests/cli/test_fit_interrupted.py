"""Ctrl-C while `medscan fit` runs: real signals to a real process."""

import pytest

from medscan import detector
from tests import processes

FIT = """
import os, signal, sys
from medscan.cli import main
from medscan.fitting import train

step, count = train.step, 0
at = [int(number) for number in sys.argv.pop(1).split(",")]

def interrupted(*args):
    global count
    loss, count = step(*args), count + 1
    for _ in range(at.count(count)):
        os.kill(os.getpid(), signal.SIGINT)
    return loss

train.step = interrupted
main()
"""


@pytest.fixture
def fit(pictures, backbone_folder, environment, tmp_path):
    out = tmp_path / "out.safetensors"

    def run(*steps):
        settings = ["--set", "epochs=3", "--set", "bank_rows=16", "--set", "batch=4"]
        words = [
            *("fit", str(pictures), "--shots", "4", "--folds", "2", "--method", "mvfa", *settings),
            *("--backbone", f"local-dir:{backbone_folder}", "--out", str(out)),
        ]
        script = tmp_path / "fit.py"
        script.write_text(FIT)
        numbers = ",".join(map(str, steps))
        return processes.Command([numbers, *words], environment, tmp_path, script).wait()

    return run, out


def test_the_first_ctrl_c_keeps_the_best_so_far(fit):
    run, out = fit
    # 6 steps of training and 3 of each fold: this one is of the second.
    found = run(11)
    assert found.returncode == 0, found.stderr
    estimate, said = found.stderr.splitlines()
    assert estimate.startswith("medscan: this will take about ")
    assert said == "medscan: interrupted: calibrated on 1 of 2 folds"
    calibration = detector.read(out).calibration
    assert calibration.provisional
    assert len(calibration.normals) == 2
    assert "; provisional: " in found.stdout


def test_the_second_ctrl_c_ends_at_once_and_writes_nothing(fit):
    run, out = fit
    found = run(11, 11)
    assert found.returncode == 130, found.stderr
    assert "Traceback" not in found.stderr
    assert list(out.parent.glob("*out*")) == []
