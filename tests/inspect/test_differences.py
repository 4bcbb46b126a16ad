"""What a stack scored again is compared by, beside its scores and maps."""

from dataclasses import replace

import numpy as np
import pytest

from medscan.inspect.differences import differences
from medscan.results import State
from tests.report import make

LOOKS = "its slices look different: 1.20 times the limit of distance"
THICK = "slice thickness 9 mm, not 1 to 3"
TOLERANCE = 1e-3


def stack(distance, *unlike, **info):
    return make.stack(n=6, distance=distance, unlike=list(unlike), **info)


def problems(old, new):
    return differences(old, new, TOLERANCE).problems


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (stack(0.5), stack(0.5009)),
        (stack(1.2, LOOKS, THICK), stack(1.2, LOOKS.replace("1.20", "1.21"), THICK)),
        (stack(1.0, LOOKS), stack(0.9995)),
        (stack(500.0, LOOKS), stack(500.4, LOOKS)),
        (stack(np.nan), stack(np.nan)),
        (make.stack(n=6), stack(1.2, LOOKS)),  # of a version that had no gate
    ],
)
def test_what_rounding_may_change_is_no_difference(old, new):
    assert problems(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (stack(0.5), stack(0.502), "its distance from the shots differs by 0.002000"),
        (stack(0.5, LOOKS), stack(0.5), "is marked as unlike the shots by its distance"),
        (stack(1.2), stack(1.2, LOOKS), "is not marked as unlike the shots by its distance"),
        (stack(0.5, THICK), stack(0.5), f"was unlike the shots by {THICK}, and now is by nothing"),
        (stack(0.5), make.stack(n=6), "was 0.500000, and is nan"),
    ],
)
def test_another_place_of_the_gate_is_told(old, new, told):
    (problem,) = problems(old, new)
    assert told in problem


def test_the_distance_of_all_slices_is_not_that_of_some():
    thin = stack(0.5)
    thin = replace(thin, state=np.where(np.arange(6) == 3, State.PASSED_OVER, thin.state))
    assert problems(thin, stack(0.9)) == []
    assert len(problems(thin, stack(0.9, THICK))) == 1
    assert differences(stack(0.5), stack(0.9), 1.0).distance == pytest.approx(0.4)
