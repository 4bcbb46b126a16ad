"""What a result says of itself."""

from dataclasses import replace

import numpy as np

from medscan.export.job import key_slices
from medscan.report.pixels import highest
from medscan.results import State
from tests.report import make


def test_slices_rank_by_score_and_equal_ones_by_their_place():
    score = np.array([0.2, np.nan, 0.7, 0.9, 0.7, np.nan], np.float32)
    state = [State.SCORED, State.BACKGROUND, *[State.SCORED] * 3, State.PASSED_OVER]
    stack = replace(make.stack(n=6), slice_score=score, state=np.array(state, np.uint8))
    assert stack.ranked() == [3, 2, 4, 0]
    assert highest(stack, 2) == {2, 3}
    assert key_slices(stack) == [3, 2, 4]  # the threshold of a slice is 0.5
    none = replace(stack, state=np.full(6, State.FAILED, np.uint8))
    assert none.ranked() == key_slices(none) == []
