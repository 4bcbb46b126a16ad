"""`medscan fit --labels`: its options, and a progress bar while studies are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from medscan.cli.logs import tell
from medscan.cli.options import INPUT, existing, option
from medscan.errors import UsageError

if TYPE_CHECKING:
    from medscan.bags import StudyOptions, Watcher

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


def studies_of(
    data: list[Path],
    archive: list[Path] | None,
    labels: Path | None,
    normal: list[str] | None,
    abnormal: list[str] | None,
) -> StudyOptions | None:
    """Return which studies to fit on; None for labelled images.

    Raises
    ------
    UsageError
        If options contradict each other.
    """
    from medscan.bags import StudyOptions

    if labels is None:
        if archive or normal or abnormal:
            raise UsageError("--archive, --normal and --abnormal are about studies: add --labels")
        return None
    if data or not archive:
        raise UsageError("--labels is about studies of an archive: give --archive and no data")
    return StudyOptions(archive, labels, tuple(normal or ()), tuple(abnormal or ()))


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
