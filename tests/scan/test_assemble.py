import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medscan.scan.assemble import aggregate, thumbnails_of


@given(arrays(np.float32, st.integers(1, 200), elements=st.floats(-5, 5, width=32)))
def test_the_rule_is_the_mean_of_the_top_five_percent(scores):
    count = max(1, math.ceil(0.05 * len(scores)))
    wanted = np.mean(sorted(scores.astype(float))[-count:])
    assert aggregate(scores) == pytest.approx(wanted)
    with_gaps = np.concatenate([scores, np.full(7, np.nan, np.float32)])
    assert aggregate(with_gaps) == aggregate(scores)


def test_nothing_scored_is_no_score():
    assert math.isnan(aggregate(np.full(3, np.nan, np.float32)))


def test_burned_in_text_is_not_kept():
    assert thumbnails_of("MR", wanted=True) == "kept"
    assert "burned-in" in thumbnails_of("US", wanted=True)
    assert thumbnails_of("MR", wanted=False) == "not asked for"
