"""Scans in processes of their own that start at once: they are forked from one that has it all."""

from __future__ import annotations

import multiprocessing
import os
import resource
from dataclasses import replace

from medscan.errors import MedscanError
from medscan.results import store
from medscan.scanning import scan
from medscan.scanning.disk import Room

WARM = ["torch", "open_clip", "medscan.scanning", "medscan.clip", "medscan.methods"]


def warm():
    """What starts such processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(WARM)
    return context


def run(options):
    """A whole scan."""
    os.environ["OMP_NUM_THREADS"] = "1"
    scan(options)


def run_limited(options, limit, looks, pipe):
    """A scan that may write no larger files, and may look how much room there is; says its end."""
    if not looks:
        Room.lack = store._check_space = lambda *_: ""
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        summary = replace(scan(options), entries=[])
        pipe.send(summary.failure)
    except MedscanError as error:
        pipe.send(f"{type(error).__name__}: {error}")
