"""kill -9 at any moment: nothing published is ever damaged, and nothing that is done is lost."""

import os
import random
import time

import pytest

from medscan import results
from tests import tiny
from tests.content import content, seen
from tests.options import changed
from tests.processes import run, warm

STUDIES, KILLS = 12, 12


@pytest.fixture
def archive(root):
    for number in range(STUDIES):
        volume = tiny.head_volume(number, slices=2, side=32)
        tiny.write_series(root / f"{number:02d}", volume, study=f"1.{number}")
    return root


def touch(root, number):
    """Every study has changed, though nothing that is seen of it has."""
    for file in root.rglob("*"):
        os.utime(file, (number, number))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_at_any_moment_lose_nothing(options, archive, tmp_path):
    whole = changed(options, out=tmp_path / "whole.h5")
    for target, given in ((int, ()), (run, (whole,))):  # the first begins what all are forked from
        started = time.monotonic()
        process = warm().Process(target=target, args=given)
        process.start()
        process.join()
    limit = 1.5 * (time.monotonic() - started)
    expected, dice = seen(whole.outputs.out), random.Random(0)
    published = ended = 0
    for kill in range(KILLS):
        process = warm().Process(target=run, args=(options,))
        process.start()
        process.join(dice.uniform(0, limit))
        ended += process.exitcode == 0
        process.kill()
        process.join()
        if options.outputs.out.exists():
            assert seen(options.outputs.out) == expected  # the old one or the new one, never a half
            published += 1
        if process.exitcode == 0:
            touch(archive, kill)
    assert 0 < ended < KILLS  # some were killed, some not
    assert published
    run(options)
    touch(archive, 10**9)
    for last in (options, whole):
        run(last)
    assert content(options.outputs.out) == content(whole.outputs.out)
    names = {path.name for path in tmp_path.iterdir()}
    assert not {n for n in names if n.endswith((".part", ".parts", ".lock", "-journal"))}
    assert len(results.open(options.outputs.out).keys()) == STUDIES
