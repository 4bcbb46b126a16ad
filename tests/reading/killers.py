"""Decode workers that go wrong. Imports little: every worker process imports it."""

import os
import time

import numpy as np

from medscan import imaging, worker
from medscan.reading import jobs
from medscan.reading.jobs import DrawJob, StackMemory


def killing(job: DrawJob, memory: StackMemory) -> list:
    """Draw, but die of the third frame."""
    if any(frame.sop_instance_uid == os.environ["KILLER"] for frame in job.frames):
        os.abort()
    return jobs.__dict__["_drawing"](job, memory)


def sleeping(job: DrawJob, memory: StackMemory) -> list:
    """Draw, but never finish the third frame."""
    if any(frame.sop_instance_uid == os.environ["KILLER"] for frame in job.frames):
        time.sleep(600)
    return jobs.__dict__["_drawing"](job, memory)


def hoarding(stack, frames, *rest, **named):
    """Render, but for the third frame ask for more memory than a worker may have."""
    if any(frame.sop_instance_uid == os.environ["KILLER"] for frame in frames):
        np.zeros(worker.SPARE * 3, np.uint8)
    return imaging.__dict__["_render"](stack, frames, *rest, **named)


def serve_hoarding(*args):
    imaging.__dict__["_render"] = imaging.render
    imaging.render = hoarding
    worker.serve(*args)


def _opening(act):
    """Open DICOM files, but act when the one that kills is opened."""
    from medscan.imaging import read

    real = read.DicomFile

    def opened(file, max_file_bytes):
        if file.full.name == os.environ["KILLER"]:
            act()
        return real(file, max_file_bytes)

    read.DicomFile = opened


def serve_opening_aborts(*args):
    _opening(os.abort)
    worker.serve(*args)


def serve_opening_hangs(*args):
    _opening(lambda: time.sleep(600))
    worker.serve(*args)


def serve_slow(*args):
    _opening_all_slowly()
    worker.serve(*args)


def _opening_all_slowly():
    from medscan.imaging import read

    real = read.DicomFile

    def opened(file, max_file_bytes):
        time.sleep(0.2)
        return real(file, max_file_bytes)

    read.DicomFile = opened


def serve_killing(*args):
    _serve_with(killing, *args)


def serve_sleeping(*args):
    _serve_with(sleeping, *args)


def _serve_with(draw, *args):
    jobs.__dict__["_drawing"] = jobs.draw_job
    jobs.draw_job = draw
    worker.serve(*args)


def serve_late(*args):
    time.sleep(2.5)
    worker.serve(*args)
