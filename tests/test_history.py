"""When a precision passes."""

import math
import re
from dataclasses import replace

import pytest

from medscan.history import Trial, tried_on_own

PASSED = Trial("bf16", "openvino 1", 100, 1, 0.0999, 0.995, 0.005, -0.005)


def test_at_the_limits_a_precision_passes():
    assert PASSED.passed
    assert PASSED.faults() == []
    assert replace(PASSED, pixel_auroc=None).passed
    assert replace(PASSED, unlike=1).passed


def test_a_precision_is_tried_on_own_patients_only_where_no_others_were_left():
    own = replace(PASSED, seen=True)
    assert tried_on_own([own, replace(own, precision="int8", flags=9)]) == ["bf16"]
    assert tried_on_own([PASSED]) == tried_on_own([own, PASSED]) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"flags": 2}, "2 flags of 100 change"),
        ({"unlike": 2}, "2 slices of 100 become like or unlike"),
        ({"bias": 0.1}, r"move by \+0.100"),
        ({"bias": -0.1}, "move by -0.100"),
        ({"spearman": 0.9949}, "correlation is 0.9949"),
        ({"image_auroc": 0.0051}, r"AUROC changes by \+0.0051"),
        ({"image_auroc": -0.0051}, r"AUROC changes by -0.0051"),
        ({"pixel_auroc": -0.0051}, "AUROC changes by -0.0051"),
        ({"bias": math.nan}, "move by"),
        ({"spearman": math.nan}, "correlation"),
        ({"image_auroc": math.nan}, "AUROC"),
    ],
)
def test_beyond_any_limit_it_does_not(change, why):
    trial = replace(PASSED, **change)
    assert not trial.passed
    (fault,) = trial.faults()
    assert re.search(why, fault)
