"""Logs: lines for a person on standard error, JSON in a file, a progress bar on a terminal."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

log = logging.getLogger("medscan")

FACTS = (
    "study",
    "file",
    "stage",
    "reason",
    "signal",
    "detector",
    "host",
    "pid",
    "studies",
    "files",
    "slices",
    "scanned",
    "flagged",
    "unchanged",
    "skipped",
    "failed",
    "arriving",
    "left",
    "stale",
    "seconds",
    "batch_size",
)
"""Attributes of a record that go into the file: nothing else of it can carry an identity."""


class JsonLines(logging.Formatter):
    """A record as one JSON object: time (UTC), level, event, and what `FACTS` names."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        facts = {name: getattr(record, name, None) for name in FACTS}
        told |= {name: fact for name, fact in facts.items() if isinstance(fact, str | int | float)}
        if record.exc_info and record.exc_info[0] is not None:
            # What an exception says may quote a file: its kind and its place are enough.
            told["error"] = record.exc_info[0].__name__
            places = traceback.extract_tb(record.exc_info[2])
            told["at"] = [f"{Path(p.filename).name}:{p.lineno} {p.name}" for p in places]
        return json.dumps(told)


class LogFile(logging.FileHandler):
    """Appends JSON lines to a file, never through a symbolic link.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OSError
        It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(JsonLines())
        self.lost = 0

    def _open(self) -> Any:
        def regular(path: str, flags: int) -> int:
            return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)

        return open(
            self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=regular
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - logging's
        """Count a line that could not be written, on a full disk say: the scan goes on."""
        self.lost += 1


class _Person(logging.Handler):
    """Writes a line to what is standard error at the moment: a progress bar may stand before it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write it, unless it is told anyway."""
        if not hasattr(record, "told"):
            tell(record.getMessage())


def tell(text: str) -> None:
    """Write a line on standard error: what it quotes of a file cannot steer a terminal."""
    line = " ".join(text.split())
    shown = (c if c.isprintable() else ascii(c)[1:-1] for c in line)
    sys.stderr.write(f"medscan: {''.join(shown)}\n")


def begin() -> None:
    """Say warnings of medscan, and of nothing else, on standard error."""
    if not log.handlers:
        log.addHandler(_Person(logging.WARNING))
        logging.getLogger().addHandler(logging.NullHandler())  # other packages quote files


@contextmanager
def logging_to(path: Path | None, outputs: Iterable[Path] = ()) -> Iterator[None]:
    """Log a scan: into a file, if there is one, and where nobody looks errors only on the screen.

    Raises
    ------
    medscan.errors.UsageError
        The file cannot be opened, is no regular one, or is one of the other `outputs`.
    """
    from medscan.errors import MedscanError, UsageError

    if path and path.exists() and not path.is_file():
        raise UsageError(f"--log-file {path} is not a regular file")
    if path and path.resolve() in {output.resolve() for output in outputs}:
        raise UsageError(f"--log-file {path}: the scan itself writes that file")
    try:
        file = LogFile(path) if path else None
    except OSError as error:
        raise UsageError(f"--log-file {path}: {error.strerror}") from error
    with _quieter(), _into(file):
        try:
            yield
        except MedscanError as error:
            facts = {"reason": type(error).__name__, "told": True}
            log.log(logging.ERROR, "command failed", extra=facts)
            raise
    if file is not None and file.lost:
        log.error("%d lines could not be written to %s", file.lost, path)


@contextmanager
def _quieter() -> Iterator[None]:
    """Errors only, where standard error goes to a mail or a file."""
    before = [(handler, handler.level) for handler in log.handlers]
    for handler, level in before:
        handler.setLevel(level if sys.stderr.isatty() else logging.ERROR)
    try:
        yield
    finally:
        for handler, level in before:
            handler.setLevel(level)


@contextmanager
def _into(file: LogFile | None) -> Iterator[None]:
    if file is None:
        yield
        return
    level = log.level
    log.addHandler(file)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(file)
        file.close()


@contextmanager
def progressing() -> Iterator[Any]:
    """A progress bar on a terminal: what `medscan.scan.scan` calls with its `Progress`."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task("studies", total=None, told="", start=False)

        def watch(done: int, studies: int, slices: int, failures: int = 0) -> None:
            progress.start_task(bar)
            rate = slices / max(1.0, progress.tasks[bar].elapsed or 0.0)
            told = f"{rate:.1f} slices/s, {failures} failed"
            progress.update(bar, completed=done, total=studies, told=told)

        yield watch
