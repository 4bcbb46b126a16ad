"""Processes that read what lies in an archive, where any file may hang or kill its reader.

A worker runs one call at a time, and names each file to its owner before it opens it. The owner
waits without blocking, kills a worker that spends too long on one file, and knows the file that is
to blame. An idle worker is kept for the next call: a process takes a second to start.

Pebble's process pool (5.2.3) was tried in its place and not taken. Its workers share one pipe, so
that losing one can cost the answers of the others. It times whole jobs, where here each file has
its own time, and it hands a job to any worker, where here a stack stays with the worker that
measured its window. Drawing the same slices with two workers, it was no faster.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from multiprocessing.util import Finalize
from pathlib import Path
from struct import Struct
from types import ModuleType
from typing import Any, BinaryIO, TypeVar

from medscan.choices import FILE_TIMEOUT_S, MAX_FILE_BYTES
from medscan.errors import DecoderError, TimedOutError

Result = TypeVar("Result")

PR_SET_PDEATHSIG = 1
"""Option of prctl(2): the signal to get when the parent dies."""
COPIES = 4
"""A file may be in memory as read, unpacked, decoded and in floating point at once."""
SPARE = 1 << 30
"""Bytes for everything else that a worker has in memory."""
STEP_S = 0.5
"""Longest single wait for a worker."""
STARTUP_S = 300.0
"""Longest time until a worker begins its first call of a function: it imports what that needs."""
_LENGTH = Struct("<Q")
"""Comes before each message of a worker: its bytes."""
_AT_ONCE = 1 << 18
"""Bytes that are read from a pipe at once: about as many as it holds."""
KEPT = 1
"""Idle workers that are kept for the next call."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call returned or raised.

    Parameters
    ----------
    value : object
    error : Exception or None
    seconds : float
        Time that the worker spent on the call.
    """

    value: Any
    error: Exception | None
    seconds: float

    def get(self) -> Any:
        """Return what the call returned; raise what it raised."""
        if self.error is not None:
            raise self.error
        return self.value


# --- in the worker process ----------------------------------------------------------------------

_names: list[BinaryIO] = []
"""Where a worker names the files that it opens; empty in other processes."""


def announce(file: object) -> None:
    """Name the file that a worker opens next, which then has the full time."""
    for pipe in _names:
        _write(pipe, file)


def _write(pipe: BinaryIO, message: object) -> None:
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def bound_memory(max_file_bytes: int) -> None:
    """Allow a worker `COPIES` times `max_file_bytes` in addition to what it has now."""
    if _names:
        _bound_memory(max_file_bytes)


@lru_cache(maxsize=1)
def _bound_memory(max_file_bytes: int) -> None:
    # Each thread reserves address space, which counts; decoding is spread over processes instead.
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
    with suppress(OSError, ValueError):  # systems without /proc, or that refuse the limit
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        most = pages * resource.getpagesize() + COPIES * max_file_bytes + SPARE
        resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))


def serve(connection: Connection, names: Connection, parent: int, _function: object) -> None:
    """Run the calls that come through a pipe and send back their answers, until it closes.

    To get `_function`, the process has imported its module, and what that needs.

    A slice of 240 x 240 takes 0.4 ms through the pipe, and would take 0.2 ms in shared memory;
    reading, windowing and drawing it takes ten times as long, so that the pipe is good enough.
    """
    _die_with(parent)
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal sends them to workers too
        signal.signal(number, signal.SIG_IGN)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # C libraries write there, and cron would mail it
    _names.append(os.fdopen(os.dup(names.fileno()), "wb"))
    calls, answers = (os.fdopen(os.dup(connection.fileno()), mode) for mode in ("rb", "wb"))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            function, args = pickle.load(calls)  # noqa: S301 - from its owner
            announce(None)  # what the call needs has been imported
            _write(answers, _answer(function, args))


def _within_memory(function: Callable[..., Result], args: tuple[object, ...]) -> Result:
    bound_memory(MAX_FILE_BYTES)
    return function(*args)


def _answer(function: Callable[..., object], args: tuple[object, ...]) -> Answer:
    started = time.perf_counter()
    value, error = None, None
    try:
        value = function(*args)
    except Exception as raised:  # noqa: BLE001 - its owner raises it
        error = _portable(raised)
    return Answer(value, error, time.perf_counter() - started)


def _portable(error: Exception) -> Exception:
    """Return the error if it passes through a pipe, else one that names its class."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - bytes made in this line
    except Exception:  # noqa: BLE001 - an error of a library may refuse in any way
        return RuntimeError(f"{type(error).__name__} in a worker process")
    return error


def _die_with(parent: int) -> None:
    """Make sure that a hanging decoder does not outlive a scan that was killed."""
    with suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before prctl was called
        os._exit(1)


# --- in the process that owns workers -----------------------------------------------------------


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main module from a new process, which would run it again: it may be a user's script.

    Functions of workers are of other modules. A script that scans needs no guard then.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class Worker:
    """A worker process as its owner sees it: its pipes, and the call that it works on.

    Parameters
    ----------
    function : callable
        It will be called first: the process imports what it needs while it starts.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, worker_end = context.Pipe()
        # Names have a pipe of their own, which nobody waits for: thousands come in a second.
        self.names, names_end = context.Pipe(duplex=False)
        self._answers, self._named = _Messages(self.connection), _Messages(self.names)
        args = (worker_end, names_end, os.getpid(), function)
        self.process = context.Process(target=serve, args=args, daemon=True)
        with _without_main():
            self.process.start()
        worker_end.close()
        names_end.close()
        # Before multiprocessing asks its children to end, which a worker does not hear.
        Finalize(self, self.process.kill, exitpriority=100)
        self.reading: Any = None
        self.known: set[Callable[..., object]] = set()
        self.limit_s = self.left_s = 0.0
        self.busy = self.gone = False

    def start(self, limit_s: float, function: Callable[..., object], *args: object) -> None:
        """Send a call of a module's function; each file that it names has `limit_s`.

        A worker that died while idle is found dead when it is waited for.
        """
        self._take_names()  # those of the last call
        self.reading, self.limit_s, self.busy = None, limit_s, True
        self.left_s = limit_s if function in self.known else STARTUP_S
        self.known.add(function)
        with suppress(BrokenPipeError, ConnectionResetError):
            self._send(pickle.dumps((function, args), pickle.HIGHEST_PROTOCOL))

    def _send(self, message: bytes) -> None:
        """Write a message as fast as the worker reads it, while it has time."""
        rest = memoryview(message)
        while rest and not self.late:
            try:
                rest = rest[os.write(self.connection.fileno(), rest) :]
            except BlockingIOError:
                started = time.monotonic()
                _wait_to_write(self.connection)
                self.left_s -= time.monotonic() - started

    def answer(self) -> Answer | None:
        """Return the worker's answer, or None while there is none, or not all of it."""
        self._take_names()
        for message in self._answers.take():
            self.busy = False
            answer: Answer = pickle.loads(message)  # noqa: S301 - from our own process
            return answer
        self.gone = self._answers.ended
        return None

    def _take_names(self) -> None:
        """Note which file the worker has opened last, and give it the full time."""
        for name in self._named.take()[-1:]:
            self.reading = pickle.loads(name)  # noqa: S301 - from our own process
            self.left_s = self.limit_s

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return not self.gone and self.process.is_alive()

    @property
    def late(self) -> bool:
        """Whether the call has spent too long on one file."""
        return self.left_s <= 0

    @property
    def lost(self) -> bool:
        """Whether no answer will come: the process is dead or out of time."""
        return self.late or not self.alive

    def finish(self, waiting: Callable[[], object] = lambda: None) -> Answer | None:
        """Wait for the answer, calling `waiting`; None if the process dies or is out of time."""
        while True:
            lost = self.lost  # asked first: an answer sent just before it died still counts
            answer = self.answer()
            if answer is not None or lost:
                return answer
            wait_for([self])
            waiting()

    def error(self) -> DecoderError:
        """Return the error of the file that this lost worker was reading, and end the process."""
        if self.late:
            self.stop()
            return TimedOutError(f"reading it took longer than {self.limit_s:g} s")
        self.process.join(timeout=2.0)
        code = self.process.exitcode or 0
        self.stop()
        end = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return DecoderError(f"its decoder {end}")

    def stop(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.join()
        self.connection.close()
        self.names.close()


class _Messages:
    """Messages of a worker, taken without waiting: it may stop in the middle of one.

    Parameters
    ----------
    pipe : Connection
    """

    def __init__(self, pipe: Connection) -> None:
        os.set_blocking(pipe.fileno(), False)
        self.pipe, self.ended = pipe, False
        self._bytes = bytearray()

    def take(self) -> list[bytes]:
        """Return the messages that have come whole; note the end of the pipe."""
        with suppress(BlockingIOError, ConnectionResetError):
            while not self.ended:
                part = os.read(self.pipe.fileno(), _AT_ONCE)
                self._bytes += part
                self.ended = not part
        messages, start = [], 0
        while (end := self._end(start)) <= len(self._bytes):
            messages.append(bytes(self._bytes[start + _LENGTH.size : end]))
            start = end
        del self._bytes[:start]
        return messages

    def _end(self, start: int) -> int:
        """Where the message that starts there ends, or at least its length."""
        first = start + _LENGTH.size
        if first > len(self._bytes):
            return first
        return first + int(_LENGTH.unpack_from(self._bytes, start)[0])


def _wait_to_write(pipe: Connection) -> None:
    """Wait a little until a pipe takes more bytes, or its reader is gone."""
    poll = select.poll()
    poll.register(pipe.fileno(), select.POLLOUT)
    poll.poll(1000 * STEP_S)


def wait_for(workers: list[Worker]) -> None:
    """Wait a little for one of the workers to answer or die, and take that from their time.

    Only time spent waiting counts: while this process was stopped or busy, an answer may have been
    ready all along.
    """
    step = min([STEP_S, *(w.left_s for w in workers)])
    handles: list[Any] = [w.connection for w in workers] + [w.process.sentinel for w in workers]
    started = time.monotonic()
    wait(handles, timeout=step)
    spent = min(step, time.monotonic() - started)
    for worker in workers:
        worker.left_s -= spent


_idle: list[Worker] = []
os.register_at_fork(after_in_child=_idle.clear)


def hire(function: Callable[..., object]) -> Worker:
    """Return an idle worker, or start one that will call `function`."""
    while _idle:
        worker = _idle.pop()
        if worker.alive:
            return worker
        worker.stop()
    return Worker(function)


def dismiss(worker: Worker) -> None:
    """Keep an idle worker for the next call; end one that is busy or not needed.

    A worker dies with the thread that started it, so that only those of the main thread are kept.
    """
    lasting = threading.current_thread() is threading.main_thread()
    if worker.busy or not lasting or len(_idle) >= KEPT:
        worker.stop()
    else:
        _idle.append(worker)


def call(function: Callable[..., Result], *args: object) -> Result:
    """Return what a module's function returns in a worker process.

    Raises
    ------
    DecoderError
        If the process dies, or spends too long on a file.
    Exception
        Whatever the function raises.
    """
    worker = hire(function)
    try:
        worker.start(FILE_TIMEOUT_S, _within_memory, function, args)
        answer = worker.finish()
        if answer is None:
            raise worker.error()
        result: Result = answer.get()
        return result
    finally:
        dismiss(worker)
