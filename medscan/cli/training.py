"""What `medscan fit` and `medscan refit` share: options, a check, a bar, and what Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

from medscan.cli.logs import tell
from medscan.cli.options import INPUT, OUTPUT, option

if TYPE_CHECKING:
    from medscan.fitting import Moment, Tell

CALIBRATION = "Calibration"

Licence = Annotated[str, option(INPUT, "Licence of the data, recorded in the detector.")]
Folds = Annotated[
    int, option(CALIBRATION, "Cross-validation folds, at least 2; 0: do not calibrate.")
]
DetectorFile = Annotated[Path, option(OUTPUT, "Detector file to write.")]
NEW = Path("detector.safetensors")


@contextmanager
def watching() -> Iterator[Tell]:
    """Say how long a fit takes, and show a bar over all of it on a terminal.

    The first Ctrl-C ends the fit after the step that it is at, with the best so far; the second
    ends the process at once.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with (
        _ctrl_c() as pressed,
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as progress,
    ):
        bar = progress.add_task("", total=None, start=False)

        def told(moment: Moment) -> None:
            if pressed:
                raise KeyboardInterrupt
            if not moment.step:
                tell(f"this will take about {_clock(moment.planned)}")
                progress.start_task(bar)
            text = f"{moment.doing}, step {moment.step} of {moment.steps}"
            text += "" if moment.loss is None else f", loss {moment.loss:.3f}"
            progress.update(bar, description=text, completed=moment.done, total=moment.planned)

        yield told


@contextmanager
def _ctrl_c() -> Iterator[list[int]]:
    """Collect the first SIGINT; the second ends the process with status 130."""
    pressed: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield pressed  # only the main thread may handle signals
        return

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if pressed:
            raise SystemExit(128 + number)
        pressed.append(number)

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _clock(seconds: float) -> str:
    minutes, left = divmod(max(1, round(seconds)), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"
