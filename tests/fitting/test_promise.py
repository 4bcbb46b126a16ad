import csv

import numpy as np
import pytest

from medscan.normals import Calibration
from tests import tiny
from tests.benchmarks import promise


@pytest.fixture
def asked(backbone_folder):
    most = ["--shots", "4", "--folds", "2", "--draws", "1", "--most", "3"]
    return [*most, "--backbone", f"local-dir:{backbone_folder}"]


@pytest.mark.parametrize("words", [[], ["--mixed"]])
def test_the_benchmark_runs_on_pictures(tmp_path, asked, capsys, words):
    data = tiny.write_pictures(tmp_path / "heads", patients=4, tests=4)
    promise.main([str(data), *asked, "--shots", "3", *words])
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "heads, discriminant"
    assert [line.split()[0] for line in told[1:]] == ["nominal", "5%", "10%", "20%", "50%"]
    assert all("of  1" in line for line in told[2:])
    assert told[-1].split()[1] == "50.0%"  # of three normals, the second


def test_the_benchmark_runs_on_slabs(tmp_path, asked, capsys):
    rows = []
    for label, word in enumerate(("normal", "abnormal")):
        for patient in range(6):
            name = f"slabs/{word}/p{patient}"
            volume = tiny.head_volume(patient + 6 * label, slices=3)
            tiny.write_nifti(tmp_path / f"{name}.nii.gz", volume)
            mask = f"masks/p{patient}.nii.gz" if label else ""
            if label:
                tiny.write_nifti(tmp_path / mask, (volume > 50).astype(np.uint8))
            rows.append((name, f"p{patient}", label, mask))
    with (tmp_path / "cases.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("volume", "patient", "label", "mask"), *rows])
    promise.main(["--slabs", str(tmp_path), *asked])
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in told[2:]] == ["25.0%", "25.0%", "25.0%", "50.0%"]


def test_a_draw_is_within_the_band_when_the_promise_is_kept():
    """And seldom outside: the band is of both, few normals to calibrate on and few to count."""
    rng = np.random.default_rng(0)
    items = [promise.Item(str(n), tiny, 0, str(n)) for n in range(40)]
    held = promise.Held([*items, promise.Item("x", tiny, 1, "x")])

    def draw(shift):
        known = tuple(sorted(rng.normal(size=16).tolist()))
        calibration = Calibration(known, 0.0, 0.2, False, 0, 1)
        scores = [np.array([s]) for s in (rng.normal(size=41) + shift).astype(np.float32)]
        return promise.row(calibration, 0.2, held, scores)

    kept, broken = ([draw(shift) for _ in range(200)] for shift in (0.0, 1.5))
    assert kept[0].reachable == pytest.approx(3 / 17)
    assert np.mean([one.flagged for one in kept]) == pytest.approx(3 / 17, abs=0.03)
    assert np.mean([one.within for one in kept]) > 0.92
    assert np.mean([one.within for one in broken]) < 0.5
