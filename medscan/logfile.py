"""The log file of a scan: JSON lines that hold no identity."""

from __future__ import annotations

import json
import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FACTS = (
    *("study", "file", "stage", "reason", "signal", "detector", "host", "pid"),
    *("studies", "files", "slices", "scanned", "flagged", "unchanged", "skipped", "failed"),
    *("arriving", "left", "stale", "seconds", "batch_size"),
)
"""Attributes of a record that go into the file; no other one does, so no identity can."""


class JsonLines(logging.Formatter):
    """A record as one JSON object: time (UTC), level, event, and what `FACTS` names."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        facts = {name: getattr(record, name, None) for name in FACTS}
        line |= {name: fact for name, fact in facts.items() if isinstance(fact, str | int | float)}
        if record.exc_info and record.exc_info[0] is not None:
            # The message of an exception may quote a file, so only its type and lines are kept.
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            line["at"] = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames]
        return json.dumps(line)


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
        """Count a line that could not be written, as on a full disk; the scan goes on."""
        self.lost += 1


@contextmanager
def logging_into(log: logging.Logger, file: LogFile | None) -> Iterator[None]:
    """Write what a logger is told to a file as well, then close it; None does nothing."""
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
