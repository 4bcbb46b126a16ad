import math

from medscan.detector import Detector, Domain
from medscan.fitting import detector_line
from medscan.normals import Calibration


def line(calibration: Calibration) -> str:
    shots = {"normal": ["a", "b"], "abnormal": ["c"]}
    facts = ("d", "mvfa", "clean", "Brain", True, {}, "mini", "0" * 64, Domain(), "auto")
    return detector_line(Detector(*facts, calibration, shots))


def test_a_fit_says_what_its_threshold_promises():
    normals = tuple(n / 100 for n in range(39))
    told = line(Calibration(normals, 0.375, 0.05, False, 0, 1))
    assert "mvfa on mini, shots: 2 normal, 1 abnormal; threshold 0.375: " in told
    assert "expect it to flag 5 % of normal slices (0.63 to 13 %), by 39 that it had" in told
    assert "provisional" not in told


def test_a_fit_says_when_there_are_too_few_normals():
    normals = tuple(n / 100 for n in range(16))
    told = line(Calibration(normals, 0.15, 0.05, True, 0, 1))
    assert "flag 5.9 % of normal slices (0.16 to 21 %), by 16 that it had not seen" in told
    assert told.endswith("; provisional: 5 % of normal slices needs 19 of them")


def test_a_fit_promises_stacks_where_it_saw_whole_ones():
    stacks = tuple((n / 100, n / 200) for n in range(19))
    told = line(Calibration((0.1, 0.2), 0.15, 0.05, True, 0, 1, stacks=stacks))
    assert "threshold 0.150 of a slice, those of stacks by their slices: expect it" in told
    assert "flag 5 % of normal stacks" in told
    assert "provisional" not in told


def test_a_fit_says_when_it_will_flag_nothing():
    assert "it will flag nothing" in line(Calibration((), math.nan, 0.05, True, 0, 1))


def test_a_fit_says_that_its_calibration_was_interrupted():
    normals = tuple(n / 100 for n in range(39))
    told = line(Calibration(normals, 0.375, 0.05, True, 0, 1))
    assert told.endswith("; provisional: the calibration was interrupted")
