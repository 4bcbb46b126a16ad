"""`medscan fit --labels`: its options, and a progress bar while studies are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from medscan.cli.logs import tell
from medscan.cli.options import INPUT, existing, option

if TYPE_CHECKING:
    from medscan.bags import Watcher

LabelledArchives = Annotated[
    list[Path] | None,
    option(INPUT, "With --labels: folder with the studies; may be repeated.", parser=existing),
]
LabelTable = Annotated[
    Path | None,
    option(
        INPUT,
        "Table of studies of --archive that are normal or abnormal as a whole, instead of DATA.",
        metavar="TABLE",
    ),
]
Normal = Annotated[
    list[str] | None,
    option(INPUT, "With --labels: a label that means normal; may be repeated.", metavar="VALUE"),
]
Abnormal = Annotated[
    list[str] | None,
    option(INPUT, "With --labels: a label that means abnormal; may be repeated.", metavar="VALUE"),
]


@contextmanager
def reading() -> Iterator[Watcher]:
    """Say what is read on standard error, with a bar on a terminal."""
    from tqdm import tqdm

    from medscan.bags import Watcher

    headers = tqdm(desc="reading headers", unit="file", disable=None, leave=False)
    studies = tqdm(desc="reading studies", unit="study", disable=None, leave=False)

    def told(line: str) -> None:
        headers.clear()
        studies.clear()
        tell(line)

    def indexed(count: int) -> None:
        headers.update(count - headers.n)

    def read(done: int, every: int) -> None:
        headers.close()
        studies.total = every
        studies.update(done - studies.n)

    try:
        yield Watcher(told, indexed, read)
    finally:
        headers.close()
        studies.close()
