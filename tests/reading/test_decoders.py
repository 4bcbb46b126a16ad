"""Decode workers that die, hang and answer out of turn."""

import time
from dataclasses import replace

import numpy as np
import pytest

from medscan import archive
from medscan.errors import DecoderError, FileError
from medscan.reading.decoders import decode
from medscan.reading.jobs import DrawJob, StackMemory, draw_job
from tests import tiny
from tests.reading.killers import (
    serve_killing,
    serve_late,
    serve_opening_aborts,
    serve_opening_hangs,
    serve_sleeping,
    serve_slow,
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    tiny.write_series(folder, tiny.head_volume(0, slices=8))
    (study,) = archive.index([folder]).studies
    return study.series[0].stacks[0]


def jobs(stack, chunk=3):
    for first in range(0, len(stack.frames), chunk):
        frames = stack.frames[first : first + chunk]
        yield DrawJob(stack, first, frames, 32, "auto", "MR", 1 << 30)


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_draw_what_this_process_draws_in_the_same_order(stack, workers):
    memory = StackMemory()
    here = [(job, draw_job(job, memory)) for job in jobs(stack)]
    there = list(decode(jobs(stack), workers, 30))
    assert [job.first for job, _ in there] == [0, 3, 6]
    for (_, mine), (_, theirs) in zip(here, there, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert np.array_equal(a.image, b.image)
            assert a.background == b.background


def test_a_file_that_cannot_be_read_costs_only_itself(stack, tmp_path):
    broken = tmp_path / "broken"
    broken.write_bytes(stack.frames[1].file.full.read_bytes()[:-100])
    file = replace(stack.frames[1].file, path="broken", root=tmp_path)
    frames = (stack.frames[0], replace(stack.frames[1], file=file), *stack.frames[2:])
    ((_, drawn),) = decode(jobs(replace(stack, frames=frames), chunk=8), 1, 30)
    assert isinstance(drawn[1], FileError)
    assert sum(isinstance(d, FileError) for d in drawn) == 1


@pytest.mark.parametrize(
    ("serve", "timeout", "why"),
    [(serve_killing, 30, "died of SIGABRT"), (serve_sleeping, 1.5, "took longer than")],
)
def test_a_decoder_that_dies_or_hangs_costs_its_frame(
    stack, monkeypatch, serve_with, serve, timeout, why
):
    monkeypatch.setenv("KILLER", stack.frames[2].sop_instance_uid)
    serve_with(serve)
    found = list(decode(jobs(stack, chunk=4), 1, timeout))
    drawn = [item for _, part in found for item in part]
    assert len(drawn) == 8
    assert isinstance(drawn[2], DecoderError)
    assert why in str(drawn[2])
    assert not any(isinstance(item, FileError) for i, item in enumerate(drawn) if i != 2)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("serve", "timeout", "why"),
    [
        (serve_opening_aborts, 30, "died of SIGABRT"),
        (serve_opening_hangs, 1.0, "took longer than"),
    ],
)
def test_a_file_that_kills_while_the_window_is_measured_costs_itself(
    stack, monkeypatch, serve_with, serve, timeout, why, workers
):
    monkeypatch.setenv("KILLER", stack.frames[2].file.full.name)
    serve_with(serve)
    started = time.monotonic()
    found = list(decode(jobs(stack), workers, timeout))
    drawn = [item for _, part in found for item in part]
    assert [isinstance(item, FileError) for item in drawn] == [n == 2 for n in range(8)]
    assert why in str(drawn[2])
    without = replace(stack, frames=(*stack.frames[:2], *stack.frames[3:]))
    alone = [item for _, part in decode(jobs(without), 0, 30) for item in part]
    kept = [item for item in drawn if not isinstance(item, FileError)]
    for mine, theirs in zip(kept, alone, strict=True):
        assert np.array_equal(mine.image, theirs.image)
    assert time.monotonic() - started < 60


def test_what_is_given_up_does_not_keep_back_what_comes_before_it(
    stack, tmp_path, monkeypatch, serve_with
):
    """The only worker is given jobs of the stack that it knows first; there is nothing to do."""
    tiny.write_series(tmp_path, tiny.head_volume(1, slices=2), study="1.2")
    other = archive.index([tmp_path]).studies[0].series[0].stacks[0]
    monkeypatch.setenv("KILLER", stack.frames[7].file.full.name)
    serve_with(serve_opening_aborts)
    asked = [
        DrawJob(stack, 0, stack.frames[:2], 32, "auto", "MR", 1 << 30, "1"),
        DrawJob(other, 0, other.frames, 32, "auto", "MR", 1 << 30, "2"),
        *(DrawJob(stack, 7, stack.frames[7:], 32, "auto", "MR", 1 << 30, "1") for _ in range(2)),
    ]
    found = list(decode(asked, 1, 30))
    assert [job for job, _ in found] == asked
    failed = [[isinstance(item, FileError) for item in drawn] for _, drawn in found]
    assert failed == [[False, False], [False, False], [True], [True]]


def test_the_time_is_that_of_one_file(stack, serve_with):
    serve_with(serve_slow)
    ((_, drawn),) = decode(jobs(stack, chunk=8), 1, 1.0)  # eight files of 0.2 s, measured and drawn
    assert not any(isinstance(item, FileError) for item in drawn)


def test_jobs_are_taken_only_as_fast_as_they_are_used(stack):
    taken = []

    def counted():
        for number in range(50):
            taken.append(number)
            yield DrawJob(
                stack, number % 8, stack.frames[number % 8 :][:1], 32, "auto", "MR", 1 << 30
            )

    results = decode(counted(), 2, 30)
    for _ in range(3):
        next(results)
    assert len(taken) < 15
    results.close()


def test_a_worker_that_is_ready_late_is_no_broken_one(stack, serve_with):
    serve_with(serve_late)
    ((_, drawn),) = decode(jobs(stack, chunk=8), 1, 1.5)
    assert not any(isinstance(item, FileError) for item in drawn)
    assert len(drawn) == 8
