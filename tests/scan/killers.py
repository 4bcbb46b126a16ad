"""Decode workers that go wrong. Imports little: every worker process imports it."""

import os
import time

from medscan.scan import decode as module
from medscan.scan.decode import Job


def killing(job: Job, windows: dict) -> list:
    """Draw, but die of the third frame."""
    if any(frame.sop_instance_uid == os.environ["KILLER"] for frame in job.frames):
        os.abort()
    return module.__dict__["_draw"](job, windows)


def sleeping(job: Job, windows: dict) -> list:
    """Draw, but never finish the third frame."""
    if any(frame.sop_instance_uid == os.environ["KILLER"] for frame in job.frames):
        time.sleep(600)
    return module.__dict__["_draw"](job, windows)


def serve_killing(connection):
    _serve_with(killing, connection)


def serve_sleeping(connection):
    _serve_with(sleeping, connection)


def _serve_with(draw, connection):
    module.__dict__["_draw"] = module.draw
    module.draw = draw
    module._serve(connection)
