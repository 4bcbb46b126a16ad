"""Commands in processes of their own that start at once: they are forked from one that has it all.

To import PyTorch and open_clip takes seconds of processor time, which each command would pay.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medscan.cli import main
from medscan.errors import MedscanError
from medscan.results import store
from medscan.scanning import scan
from medscan.scanning.disk import Room

WARM = [
    "torch",
    "open_clip",
    "medscan.clip",
    "medscan.evaluate",
    "medscan.export",
    "medscan.fitting",
    "medscan.methods",
    "medscan.report",
    "medscan.scanning",
    "tests.processes",
]


def warm():
    """What starts such processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(WARM)
    return context


class Command:
    """`medscan WORDS` at work in a folder, with nothing but that environment.

    Or another script with these words.
    """

    def __init__(
        self,
        words: Sequence[object],
        environment: Mapping[str, str],
        folder: Path,
        script: Path | None = None,
    ):
        self.words = list(map(str, words))
        self._made = tempfile.TemporaryDirectory()
        self._outputs = [Path(self._made.name, name) for name in ("out", "err")]
        told = (self.words, dict(environment), folder, self._outputs, script)
        self._process = warm().Process(target=_command, args=told)
        self._process.start()
        self.pid = self._process.pid

    def ended(self) -> bool:
        return self._process.exitcode is not None

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Its exit status and what it said; it is killed when the time is over."""
        self._process.join(timeout)
        if not self.ended():
            self.kill()
            raise subprocess.TimeoutExpired(self.words, timeout)
        out, err = (path.read_text() for path in self._outputs)
        self._made.cleanup()
        return subprocess.CompletedProcess(self.words, self._process.exitcode, out, err)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._made.cleanup()


def command(
    words: Sequence[object], environment: Mapping[str, str], folder: Path, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """What `medscan WORDS` does in that folder, with nothing but that environment."""
    return Command(words, environment, folder).wait(timeout)


def _command(words, environment, folder, outputs, script):
    os.setsid()  # of its own, so that a test may stop it with all its workers
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for stream, path in zip((sys.stdout, sys.stderr), outputs, strict=True):
        with path.open("wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background shells ignore it
    sys.argv = [str(script or "medscan"), *words]
    if script is None:
        main()
    else:
        sys.path.insert(0, str(script.parent))
        runpy.run_path(str(script), run_name="__main__")


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
