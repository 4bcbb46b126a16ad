"""A folder of fetched studies, and beside it what is still incomplete and the ledger.

`/spool` holds whole studies, a folder each, with a folder for each series. `/spool.fetch` beside it
holds those that are still being fetched, and the ledger. Names are hashes of UIDs: they tell
nothing of a patient, and a server cannot choose where a file is written.

An object is there if a file of the size that the ledger states is there. Nothing else is believed,
so that a process may be killed at any time, or the power cut.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medscan.archive import key_of
from medscan.errors import DiskError, UsageError
from medscan.files import free_bytes, make_folder
from medscan.pacs import ARRIVING, Database, opened

TABLES = """
CREATE TABLE IF NOT EXISTS series (
    study TEXT, series TEXT, listed INTEGER NOT NULL, why TEXT NOT NULL,
    PRIMARY KEY (study, series)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    study TEXT, series TEXT, instance TEXT, bytes INTEGER NOT NULL, damage TEXT NOT NULL,
    forgotten INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (study, series, instance)) WITHOUT ROWID;
"""
"""`series`: how many objects the PACS listed, and why they are not wanted (empty: they are).
`objects`: what was fetched; what is wrong with it; whether it was forgotten since."""
SPARE = 1 << 28
"""Bytes of the disk that stay free."""


@dataclass(frozen=True, slots=True)
class Held:
    """An object that was fetched."""

    series: str
    instance: str
    size: int
    damage: str
    forgotten: bool


class Spool:
    """A folder of fetched studies.

    Parameters
    ----------
    folder : Path
    ledger : Database

    Attributes
    ----------
    aside, partial, arriving : Path
        What lies beside the folder; there, incomplete studies, and the object that is being
        written.
    """

    def __init__(self, folder: Path, ledger: Database) -> None:
        self.folder, self.aside = folder, aside_of(folder)
        self.partial, self.arriving = self.aside / "partial", self.aside / "arriving"
        self._ledger = ledger
        self.bytes = self._count_bytes()

    def _count_bytes(self) -> int:
        return int(self._ledger.all("SELECT total(bytes) FROM objects WHERE NOT forgotten")[0][0])

    # --- what is there ----------------------------------------------------------------------------

    def studies(self) -> list[str]:
        """UIDs of the studies that were fetched, and not forgotten."""
        query = "SELECT DISTINCT study FROM objects WHERE NOT forgotten ORDER BY study"
        return [row[0] for row in self._ledger.all(query)]

    def objects(self, study: str) -> dict[tuple[str, str], Held]:
        """Objects of a study by the UIDs of series and instance: those forgotten, and those there.

        What the ledger has and the disk has not is not among them, and is fetched again.
        """
        query = "SELECT series, instance, bytes, damage, forgotten FROM objects WHERE study = ?"
        held = (Held(*row) for row in self._ledger.all(query, study))
        return {
            (one.series, one.instance): one
            for one in held
            if one.forgotten or self._is_there(study, one)
        }

    def _is_there(self, study: str, held: Held) -> bool:
        place = object_path(study, held.series, held.instance)
        return any(_size(root / place) == held.size for root in (self.folder, self.partial))

    # --- what arrives -----------------------------------------------------------------------------

    def note_series(self, study: str, series: str, listed: int, why: str) -> None:
        """Record how many objects the PACS lists in a series, and why they are not wanted."""
        query = "INSERT OR REPLACE INTO series VALUES (?, ?, ?, ?)"
        self._ledger.run(query, (study, series, listed, why))

    def place(self, study: str, series: str, instance: str) -> Path:
        """Path to write an object of an incomplete study to, in a folder that is there."""
        path = self.partial / object_path(study, series, instance)
        make_folder(path.parent)
        return path

    def note_object(self, study: str, held: Held) -> None:
        """Record an object whose file is complete."""
        row = (study, held.series, held.instance, held.size, held.damage)
        self._ledger.run("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, 0)", row)
        self.bytes += held.size

    def deliver(self, study: str) -> None:
        """Move a study that is complete to where scans look.

        A new study is there whole at once; of one that has grown, what is new is added.

        Raises
        ------
        DiskError
            If it cannot be moved.
        """
        source, target = self.partial / key_of(study), self.folder / key_of(study)
        try:
            if not source.exists():
                return
            if not target.exists():
                source.rename(target)
                return
            for path in sorted(p for p in source.rglob("*") if p.is_file()):
                make_folder((target / path.relative_to(source)).parent)
                path.replace(target / path.relative_to(source))
            shutil.rmtree(source)
        except OSError as error:
            raise DiskError(f"{target} could not be written: {error.strerror}") from error

    # --- what goes --------------------------------------------------------------------------------

    def drop_partial(self, study: str) -> None:
        """Remove what there is of an incomplete study."""
        shutil.rmtree(self.partial / key_of(study), ignore_errors=True)
        there = self.objects(study)
        named = self._ledger.all("SELECT series, instance FROM objects WHERE study = ?", study)
        query = "DELETE FROM objects WHERE study = ? AND series = ? AND instance = ?"
        self._ledger.run(query, *((study, *name) for name in named if name not in there))
        self.bytes = self._count_bytes()

    def drop_partial_but(self, studies: Collection[str]) -> None:
        """Remove what there is of incomplete studies that are not among these."""
        for study in self.studies():
            if study not in studies and (self.partial / key_of(study)).exists():
                self.drop_partial(study)
        keys = {key_of(study) for study in studies}
        for path in self.partial.glob("*"):  # of which no object had arrived
            if path.name not in keys:
                shutil.rmtree(path, ignore_errors=True)

    def remember(self, study: str) -> None:
        """Drop what is known of a forgotten study, so that it is fetched again, and whole."""
        self._ledger.run("DELETE FROM objects WHERE study = ? AND forgotten", (study,))

    def forget(self, study: str) -> int:
        """Remove a delivered study, remember that it was here, and return how many objects it had.

        Raises
        ------
        DiskError
            If it cannot be removed.
        """
        query = "SELECT count(*) FROM objects WHERE study = ? AND NOT forgotten"
        count = int(self._ledger.all(query, study)[0][0])
        # First in the ledger: what stays on the disk after a kill is found by the next one.
        self._ledger.run("UPDATE objects SET forgotten = 1 WHERE study = ?", (study,))
        self._remove(self.folder / key_of(study))
        self.bytes = self._count_bytes()
        return count

    def remove_forgotten(self) -> None:
        """Remove what a process that was killed had forgotten, but not removed."""
        query = "SELECT DISTINCT study FROM objects GROUP BY study HAVING min(forgotten)"
        for (study,) in self._ledger.all(query):
            if (self.folder / key_of(study)).exists():
                self._remove(self.folder / key_of(study))

    def _remove(self, path: Path) -> None:
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise DiskError(f"{path} could not be removed: {error.strerror}") from error

    def disk_has_room(self) -> bool:
        """Whether the disk has bytes to spare."""
        return free_bytes(self.folder) > SPARE


def object_path(study: str, series: str, instance: str) -> Path:
    """Path of an object below the folder."""
    return Path(key_of(study), key_of(series), f"{key_of(instance)}.dcm")


def aside_of(folder: Path) -> Path:
    """Folder of the ledger and of incomplete studies."""
    return folder.with_name(f"{folder.name}.fetch")


@contextmanager
def opened_spool(folder: Path) -> Iterator[Spool]:
    """Open a folder of fetched studies, and make it if it is not there.

    Raises
    ------
    UsageError
        If it cannot be one.
    LockedError
        If another process fetches into it.
    """
    folder = folder.absolute()
    aside = aside_of(folder)
    if not folder.name or folder.is_symlink():
        raise UsageError(f"{folder}: name a folder, and no link to one")
    for path in (folder, aside):
        make_folder(path)
    if folder.stat().st_dev != aside.stat().st_dev:
        raise UsageError(f"{folder} is a disk of its own: name a folder on it, {folder}/studies")
    aside.chmod(0o700)
    with opened(aside / "ledger", TABLES) as ledger:
        spool = Spool(folder, ledger)
        spool.remove_forgotten()
        for left in aside.glob(f"{ARRIVING}*"):
            shutil.rmtree(left)
        yield spool


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return -1
