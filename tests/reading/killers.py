"""Decode workers that go wrong. Imports little: every worker process imports it."""

import os
import time

import numpy as np

from medscan.reading import worker as module
from medscan.reading.jobs import DrawJob, StackMemory


def killing(job: DrawJob, memory: StackMemory) -> list:
    """Draw, but die of the third frame."""
    if any(frame.sop_instance_uid == os.environ["KILLER"] for frame in job.frames):
        os.abort()
    return module.__dict__["_draw"](job, memory)


def sleeping(job: DrawJob, memory: StackMemory) -> list:
    """Draw, but never finish the third frame."""
    if any(frame.sop_instance_uid == os.environ["KILLER"] for frame in job.frames):
        time.sleep(600)
    return module.__dict__["_draw"](job, memory)


def hoarding(stack, frames, *rest):
    """Render, but for the third frame ask for more memory than a worker may have."""
    if any(frame.sop_instance_uid == os.environ["KILLER"] for frame in frames):
        np.zeros(module.SPARE * 3, np.uint8)
    return module.__dict__["_render"](stack, frames, *rest)


def serve_hoarding(connection, parent):
    module.__dict__["_render"] = module.imaging.render
    module.imaging.render = hoarding
    module.serve(connection, parent)


def _opening(act):
    """Open DICOM files, but act when the one that kills is opened."""
    from medscan.imaging import read

    real = read.DicomFile

    def opened(file, max_file_bytes):
        if file.full.name == os.environ["KILLER"]:
            act()
        return real(file, max_file_bytes)

    read.DicomFile = opened


def serve_opening_aborts(connection, parent):
    _opening(os.abort)
    module.serve(connection, parent)


def serve_opening_hangs(connection, parent):
    _opening(lambda: time.sleep(600))
    module.serve(connection, parent)


def serve_slow(connection, parent):
    _opening_all_slowly()
    module.serve(connection, parent)


def _opening_all_slowly():
    from medscan.imaging import read

    real = read.DicomFile

    def opened(file, max_file_bytes):
        time.sleep(0.2)
        return real(file, max_file_bytes)

    read.DicomFile = opened


def serve_killing(connection, parent):
    _serve_with(killing, connection, parent)


def serve_sleeping(connection, parent):
    _serve_with(sleeping, connection, parent)


def _serve_with(draw, connection, parent):
    module.__dict__["_draw"] = module.draw_job
    module.draw_job = draw
    module.serve(connection, parent)
