"""End a scan early and cleanly, and warn when it makes no progress."""

from __future__ import annotations

import datetime
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

log = logging.getLogger("medscan.scan")

STALL_S = 300.0
"""Seconds without progress after which a scan warns."""


SIGNAL_GRACE_S, UNTIL_GRACE_S = 3.0, 30.0
"""Seconds for the studies in hand after a signal, and after the time to stop."""
PUBLISH_LIMIT_S = 8.0
"""Seconds after a signal when publication ends too: the next scan publishes the rest.

A time to stop sets no such limit: it comes every night, and nothing would ever be published.
"""


class StoppedError(Exception):
    """Raised to end a scan before it has planned its studies, or to drop those in hand."""


class Stop:
    """Whether and why a scan ends early: it begins no further study, publishes, and ends.

    Studies in hand get a few seconds more. Those that take longer are dropped: the next scan scans
    them from the start.

    Parameters
    ----------
    until : datetime.time or None
        Local time, hours and minutes, at which to stop: its next occurrence.
    """

    def __init__(self, until: datetime.time | None = None) -> None:
        self.signal: int | None = None
        self._signalled = 0.0
        self._immediate = self._limited = False
        self.has_alarm = False
        self.at_once = False
        self.failure = ""
        self._until = until
        self._deadline = None if until is None else time.monotonic() + seconds_until(until)

    def __bool__(self) -> bool:
        return bool(self.reason)

    @property
    def reason(self) -> str:
        """Why to stop, in words; empty while the scan may go on."""
        if self.failure:
            return self.failure
        if self.signal is not None:
            return signal.Signals(self.signal).name
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return f"--until {self._until:%H:%M}"
        return ""

    @property
    def overdue(self) -> bool:
        """Whether the time for the studies in hand is over."""
        now = time.monotonic()
        if self.signal is not None and now >= self._signalled + SIGNAL_GRACE_S:
            return True
        return self._deadline is not None and now >= self._deadline + UNTIL_GRACE_S

    def receive(self, number: int) -> None:
        """Note a signal that ends the scan."""
        self.signal, self._signalled = number, time.monotonic()
        if self._limited:
            self._set_alarm()
        if self._immediate:
            self._immediate = False  # what is done on the way out is not interrupted
            raise StoppedError

    @contextmanager
    def immediate(self) -> Iterator[None]:
        """Have a signal end the block by StoppedError wherever it is, as nothing is lost by it."""
        self.check()
        self._immediate = True
        try:
            yield
        finally:
            self._immediate = False

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Have a signal end the block by StoppedError in time, as nothing is lost by it."""
        self.check_limit()
        self._limited = True
        try:
            self._set_alarm()
            yield
        finally:
            self._limited = False
            if self.has_alarm:
                signal.setitimer(signal.ITIMER_REAL, 0)

    def _set_alarm(self) -> None:
        """Have SIGALRM come when the time is over."""
        if self.has_alarm and self._limit < math.inf:
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, self._limit - time.monotonic()))

    def ring(self) -> None:
        """End a block whose time is over."""
        if self._limited:
            self._limited = False
            raise StoppedError

    @property
    def _limit(self) -> float:
        """When publication must have ended; infinite without a signal."""
        return math.inf if self.signal is None else self._signalled + PUBLISH_LIMIT_S

    def check_limit(self) -> None:
        """Raise StoppedError if publication must end."""
        if time.monotonic() >= self._limit:
            raise StoppedError

    def check(self) -> None:
        """Raise StoppedError if the scan must end."""
        if self:
            raise StoppedError

    def check_overdue(self) -> None:
        """Raise StoppedError if studies in hand must be dropped."""
        if self.overdue:
            raise StoppedError


def seconds_until(clock: datetime.time, now: datetime.datetime | None = None) -> float:
    """Return the seconds until the next time that a local clock shows `clock`."""
    now = (now or datetime.datetime.now()).astimezone()  # noqa: DTZ005 - local time is meant
    for days in (0, 1, 2):  # the time may be skipped tomorrow, when clocks go forward
        date = now.date() + datetime.timedelta(days=days)
        seconds = datetime.datetime.combine(date, clock).timestamp() - now.timestamp()
        if seconds > 0:
            return seconds
    raise ValueError(f"a clock that never shows {clock}")


@contextmanager
def stopping(until: datetime.time | None = None) -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into a clean stop; a second signal ends the process at once."""
    stop = Stop(until)

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.signal is not None:
            stop.at_once = True
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        stop.receive(number)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, lambda *_: stop.ring())
    stop.has_alarm = True
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Watchdog:
    """Warns when a scan makes no progress; every step of the scan calls `feed`.

    Parameters
    ----------
    stall_s : float
        Seconds without progress.
    """

    def __init__(self, stall_s: float = STALL_S) -> None:
        self.stall_s = stall_s
        self.doing = "starting"
        self._last = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watchdog", daemon=True)

    def feed(self, doing: str) -> None:
        """Report progress, and what the scan does next."""
        self.doing, self._last = doing, time.monotonic()

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        """Warn once for each stall."""
        warned_for = 0.0
        while not self._over.wait(min(self.stall_s, 10.0)):
            idle_s = time.monotonic() - self._last
            if idle_s >= self.stall_s and warned_for != self._last:
                warned_for = self._last
                log.warning("no progress for %.0f s while %s", idle_s, self.doing)
