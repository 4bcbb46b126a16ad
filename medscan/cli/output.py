"""Standard output: that it cannot be written is an error like any other."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

from medscan.errors import DiskError


class _Output:
    """A stream that raises `DiskError` if it cannot be written, as on a full disk.

    A pipe that nobody reads any more stays a BrokenPipeError, on which Typer ends in silence.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.lost = stream, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._checked():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._checked():
            self._stream.flush()

    @contextmanager
    def _checked(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.lost = True
            if error.errno == errno.EPIPE:
                raise
            raise DiskError(f"standard output could not be written: {error.strerror}") from error


@contextmanager
def checked_output() -> Iterator[None]:
    """Raise DiskError if standard output cannot be written; a closed one is written nothing."""
    if sys.stdout is None:
        yield
        return
    output = _Output(sys.stdout)
    try:
        with redirect_stdout(output):
            yield
    finally:
        if output.lost:  # Python writes what is left when it ends, and would complain once more
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - it is no file
                os.dup2(nowhere.fileno(), output.fileno())
