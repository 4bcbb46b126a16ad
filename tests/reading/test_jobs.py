"""A stack is measured once, and each of its files read once, whoever draws it."""

import os
from dataclasses import replace

import numpy as np
import pytest

from medscan import archive, imaging
from medscan.errors import TruncatedError, UnreadableError
from medscan.reading import decoders as decoding
from medscan.reading import jobs as module
from medscan.reading.decoders import Decoders
from medscan.reading.jobs import DrawJob, StackMemory, draw_job
from medscan.worker import Answer
from tests import tiny


@pytest.fixture
def stacks(tmp_path):
    for number in range(3):
        volume = tiny.head_volume(number, slices=6)
        tiny.write_series(tmp_path / str(number), volume, study=f"1.{number}")
    return [study.series[0].stacks[0] for study in archive.index([tmp_path]).studies]


def jobs_of(stack, study="", chunk=2):
    for first in range(0, len(stack.frames), chunk):
        frames = stack.frames[first : first + chunk]
        yield DrawJob(stack, first, frames, 32, "auto", "MR", 1 << 30, study)


@pytest.fixture
def opened(monkeypatch):
    """Names of the files that this process opens for their pixels."""
    names = []
    monkeypatch.setattr("medscan.imaging.read.announce", lambda file: names.append(file.path))
    return names


def test_a_stack_in_chunks_opens_each_file_once(stacks, opened):
    memory = StackMemory()
    slices = [item for job in jobs_of(stacks[0]) for item in draw_job(job, memory)]
    assert sorted(opened) == sorted(frame.file.path for frame in stacks[0].frames)
    window = imaging.measure(stacks[0], "auto", "MR", 1 << 30)
    plain = imaging.render(stacks[0], stacks[0].frames, 32, window, 1 << 30)
    for mine, theirs in zip(slices, plain, strict=True):
        assert np.array_equal(mine.image, theirs.image)


def test_each_file_of_a_stack_that_cannot_be_measured_fails_for_its_own_reason(stacks):
    files = [frame.file for frame in stacks[0].frames]
    files[0].full.unlink()
    for file in files[1:]:
        content = file.full.read_bytes()
        file.full.write_bytes(content[: len(content) - 100])
        os.utime(file.full, ns=(file.mtime_ns, file.mtime_ns))
    same = [file if n == 0 else replace(file, size=file.size - 100) for n, file in enumerate(files)]
    frames = zip(stacks[0].frames, same, strict=True)
    stack = replace(stacks[0], frames=tuple(replace(f, file=file) for f, file in frames))
    found = [item for job in jobs_of(stack) for item in draw_job(job, StackMemory())]
    assert [type(item) for item in found] == [UnreadableError] + [TruncatedError] * 5


def test_planes_that_have_no_room_are_read_again(stacks, opened, monkeypatch):
    monkeypatch.setattr(module, "KEPT_BYTES", 2 * stacks[0].rows * stacks[0].columns * 4)
    memory = StackMemory()
    found = [item for job in jobs_of(stacks[0]) for item in draw_job(job, memory)]
    assert len(opened) == 6 + 4
    roomy = [item for job in jobs_of(stacks[0]) for item in draw_job(job, StackMemory())]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(found, roomy, strict=True))


def test_a_window_that_is_known_is_not_measured(stacks, opened):
    job = next(jobs_of(stacks[0]))
    draw_job(replace(job, window=imaging.Window(0, 500)), StackMemory())
    assert len(opened) == 2


def test_a_window_that_a_job_brings_is_that_of_a_worker_too(stacks):
    job = replace(next(jobs_of(stacks[0])), window=imaging.Window(0, 500))
    with Decoders(1, 60) as decoders:
        ((_, there),) = decoders.draw([job])
        assert decoders.windows[job.window_key] == job.window
    for mine, theirs in zip(draw_job(job, StackMemory()), there, strict=True):
        assert np.array_equal(mine.image, theirs.image)


def test_what_was_kept_of_one_stack_is_not_taken_for_another(stacks):
    memory = StackMemory()
    mixed = [job for n, stack in enumerate(stacks) for job in list(jobs_of(stack, str(n)))[:1]]
    for job in [*mixed, *reversed(mixed)]:
        here = draw_job(job, memory)
        alone = draw_job(job, StackMemory())
        assert all(np.array_equal(a.image, b.image) for a, b in zip(here, alone, strict=True))


class PromptWorker:
    """Stands for a worker process that has drawn each job by the time it is asked."""

    lost, busy = False, True

    def __init__(self, begun):
        self.begun, self.memory = begun, StackMemory()

    def start(self, _limit_s, _function, job, _session):
        self.begun.append((id(self), job.study))
        self.job = job

    def answer(self):
        return Answer((draw_job(self.job, self.memory), self.memory.window), None, 0.0)

    def stop(self):
        pass


def test_each_worker_keeps_to_a_stack_while_there_are_others(stacks, monkeypatch):
    """Two workers, three stacks: no stack is begun by both while another is untouched.

    Real processes would finish in an order that depends on how busy the machine is.
    """
    begun = []
    monkeypatch.setattr(decoding, "wait_for", lambda workers: None)
    with Decoders(0, 60) as decoders:
        decoders.workers = [PromptWorker(begun), PromptWorker(begun)]
        decoders.ahead = 6
        jobs = [job for n, stack in enumerate(stacks) for job in jobs_of(stack, str(n))]
        found = list(decoders.draw(jobs))
    assert [job.study + str(job.first) for job, _ in found] == [
        j.study + str(j.first) for j in jobs
    ]
    first_two = begun[:2]
    assert {study for _, study in first_two} == {"0", "1"}
    owners = {}
    for worker, study in begun:
        owners.setdefault(study, set()).add(worker)
    assert len(owners["0"]) == len(owners["1"]) == 1
