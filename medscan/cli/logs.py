"""What a person sees of a scan: lines on standard error, a progress bar on a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from medscan.errors import MedscanError, UsageError
from medscan.logfile import LogFile, logging_into
from medscan.text import printable

log = logging.getLogger("medscan")


LONGEST_WORD = 400
"""Characters of a name or a path that a line shows; a longer one is cut in the middle."""


class _Person(logging.Handler):
    """Writes to whatever standard error is when it writes: a progress bar may have replaced it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message, unless it reaches the screen as an error anyway."""
        if not hasattr(record, "told"):
            tell(record.getMessage())


def tell(text: str) -> None:
    """Write a line to standard error; text quoted from files cannot control the terminal."""
    line = " ".join(printable(word, LONGEST_WORD) for word in text.split())
    shown = (c if c.isprintable() else ascii(c)[1:-1] for c in line)
    sys.stderr.write(f"medscan: {''.join(shown)}\n")


def conclude(problems: Iterable[str], stopped: str, *, incomplete: bool) -> None:
    """Tell what went wrong with a PACS, and end with 75 if something was left for later, else 3."""
    for problem in problems:
        tell(problem)
    if stopped:
        tell(stopped)
        raise typer.Exit(75)
    if incomplete:
        raise typer.Exit(3)


def begin() -> None:
    """Show warnings of medscan, and of no other package, on standard error."""
    if not any(isinstance(handler, _Person) for handler in log.handlers):
        log.addHandler(_Person(logging.WARNING))
        logging.getLogger().addHandler(logging.NullHandler())  # other packages quote files


@contextmanager
def logging_to(path: Path | None) -> Iterator[None]:
    """Log a scan to a file, if one is named; off a terminal, standard error gets errors only.

    Raises
    ------
    medscan.errors.UsageError
        The file cannot be opened.
    """
    try:
        file = LogFile(path) if path else None
    except OSError as error:
        raise UsageError(f"--log-file {path}: {error.strerror}") from error
    with _quieter(), logging_into(log, file):
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
    """Show errors only where standard error goes to a mail or a file."""
    before = [(handler, handler.level) for handler in log.handlers]
    for handler, level in before:
        handler.setLevel(level if sys.stderr.isatty() else logging.ERROR)
    try:
        yield
    finally:
        for handler, level in before:
            handler.setLevel(level)


@contextmanager
def progressing(what: str = "slices", wrong: str = "failed") -> Iterator[Any]:
    """Show a progress bar of studies on a terminal; yields what progress is reported to.

    Parameters
    ----------
    what, wrong : str
        What is counted in studies, and what goes wrong with it.
    """
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
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task("studies", total=None, rate="", start=False)

        def watch(done: int, studies: int, counted: int, failures: int = 0) -> None:
            progress.start_task(bar)
            rate = counted / max(1.0, progress.tasks[bar].elapsed or 0.0)
            text = f"{rate:.1f} {what}/s, {failures} {wrong}"
            progress.update(bar, completed=done, total=studies, rate=text)

        yield watch
