"""The history of a site in one SQLite file: what each scan found, without identities."""

from __future__ import annotations

import datetime
import hashlib
import math
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from medscan.archive import key_of
from medscan.errors import DiskError, UsageError
from medscan.results import Results, StackResult, State
from medscan.tables import read_table
from medscan.text import printable

VERSION = 2
APPLICATION = 0x6D736831
"""Number by which SQLite files say what they are."""
WAIT_S = 60.0
"""Longest wait for another scan that adds to the same history."""
LONGEST = 120
"""Characters of a text that are kept."""
VARIABLES = ("manufacturer", "model", "scanner", "protocol")
"""What studies are divided by; `software` is told as well, but is no stratum of its own."""
VERDICTS = ("abnormal", "normal", "unsure")
_ADVICE = (
    "it must have the columns study and verdict, and may have stack and slice, each once, divided "
    "by commas, semicolons or tabs"
)
_EVENING = datetime.timedelta(hours=12)
"""A night belongs to the day on whose evening it begins: a new one begins at noon, UTC."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stack as a scan found it.

    Parameters
    ----------
    study, stack : str
        Keys in the results, which tell nobody whose they are.
    detector : str
        SHA-256 of its detector.
    name : str
        Name of its detector.
    night : str
        Day on whose evening it was scored, ISO 8601.
    score : float
        NaN if nothing was scored.
    flagged, uncertain, failed : bool
        `failed`: whether a slice could not be used.
    manufacturer, model, software, scanner, protocol : str
        See `medscan.scoring.device`; empty if unknown.
    unlike : bool
        Whether it is unlike what its detector was fitted on.
    distance : float
        Distance from the shots, in units of the limit; NaN if the detector has no gate.
    """

    study: str
    stack: str
    detector: str
    name: str
    night: str
    score: float
    flagged: bool
    uncertain: bool
    failed: bool
    manufacturer: str = ""
    model: str = ""
    software: str = ""
    scanner: str = ""
    protocol: str = ""
    unlike: bool = False
    distance: float = math.nan


_COLUMNS = tuple(field.name for field in fields(Entry))
_DEVICE = ("manufacturer", "model", "software", "scanner", "protocol")
_TABLES = (
    f"""CREATE TABLE IF NOT EXISTS stacks ({", ".join(_COLUMNS)},
    PRIMARY KEY (study, stack, detector)) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS verdicts (study PRIMARY KEY, verdict) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS files (name PRIMARY KEY, stamp) WITHOUT ROWID",
)
_ADDED = {1: ("unlike", "distance")}
"""Columns that came after a version."""
_INSERT = (
    f"INSERT OR IGNORE INTO stacks ({', '.join(_COLUMNS)}) "  # noqa: S608
    f"VALUES ({', '.join('?' * len(_COLUMNS))})"
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM stacks WHERE night >= ? ORDER BY night"  # noqa: S608


class History:
    """An open history.

    Parameters
    ----------
    path : Path
        Made for its owner alone if it is missing.
    existing : bool
        Refuse a file that is missing.

    Raises
    ------
    UsageError
        If it is missing, or something else.
    DiskError
        If it cannot be opened or written.
    """

    def __init__(self, path: Path, *, existing: bool = False) -> None:
        self.path = path
        if existing and not path.is_file():
            raise UsageError(f"{path} does not exist; scans write it with --history")
        with self._errors():
            if not path.exists():
                path.touch(mode=0o600)
            self._database = sqlite3.connect(path, timeout=WAIT_S)
            try:
                self._prepare()
            except (sqlite3.Error, UsageError):
                self._database.close()
                raise

    def _prepare(self) -> None:
        with closing(self._database.execute("PRAGMA application_id")) as rows:
            known = rows.fetchone()[0]
        with closing(self._database.execute("PRAGMA user_version")) as rows:
            version = rows.fetchone()[0]
        if known == APPLICATION and version in _ADDED:
            self._upgrade(version)
        elif known != APPLICATION or version != VERSION:
            with closing(self._database.execute("SELECT count(*) FROM sqlite_master")) as rows:
                if known or version or rows.fetchone()[0]:
                    raise UsageError(f"{self.path} is no history of this version of medscan")
            self._database.execute(f"PRAGMA application_id = {APPLICATION}")
            self._database.execute(f"PRAGMA user_version = {VERSION}")
        with self._database:
            for statement in _TABLES:
                self._database.execute(statement)

    def _upgrade(self, version: int) -> None:
        """Add the columns that an older version had not; of older rows they are not known."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            with closing(self._database.execute("PRAGMA table_info(stacks)")) as rows:
                there = {row[1] for row in rows}
            for column in _ADDED[version]:
                if there and column not in there:
                    self._database.execute(f"ALTER TABLE stacks ADD COLUMN {column}")
            self._database.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_NOTADB:
                raise UsageError(f"{self.path} is no history of medscan") from error
            raise DiskError(f"history {self.path}: {error}") from error
        except OSError as error:
            raise DiskError(f"history {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Close it."""
        self._database.close()

    def __enter__(self) -> History:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, results: Results) -> int:
        """Add what results hold that the history lacks; return how many stacks.

        A stack counts in the night in which its detector first scored it. Results that have not
        changed since are not read again.
        """
        name = hashlib.sha256(str(results.path.resolve()).encode()).hexdigest()
        found = results.path.stat()
        stamp = f"{found.st_size} {found.st_mtime_ns}"
        with self._errors(), self._database:
            query = "SELECT stamp FROM files WHERE name = ?"
            if (stamp,) in self._database.execute(query, (name,)).fetchall():
                return 0
            before = self._database.total_changes
            self._database.executemany(_INSERT, map(_row, entries_of(results)))
            added = self._database.total_changes - before
            self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (name, stamp))
        return added

    def put(self, entries: Iterable[Entry]) -> None:
        """Add stacks that the history lacks."""
        with self._errors(), self._database:
            self._database.executemany(_INSERT, map(_row, entries))

    def entries(self, since: str = "") -> list[Entry]:
        """All stacks from a night on, in the order of nights and in a fixed order within each."""
        with self._errors():
            rows = self._database.execute(_SELECT, (since,)).fetchall()
        with suppress(TypeError, ValueError):
            return [_entry(row) for row in rows]
        raise UsageError(f"history {self.path} is damaged")

    def judge(self, decisions: Path) -> int:
        """Keep verdicts from a table, as pages of a report save it; return how many studies.

        A study is abnormal if any part of it is. Studies that the history lacks are left out.

        Raises
        ------
        UsageError
            If it cannot be read.
        """
        with self._errors():
            known = {row[0] for row in self._database.execute("SELECT DISTINCT study FROM stacks")}
        found = _verdicts(decisions, known)
        with self._errors(), self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO verdicts VALUES (?, ?)", sorted(found.items())
            )
        return len(found)

    def verdicts(self) -> dict[str, str]:
        """Verdict by study."""
        with self._errors():
            rows = self._database.execute("SELECT study, verdict FROM verdicts").fetchall()
        return {str(study): str(verdict) for study, verdict in rows}


def record(path: Path, out: Path) -> None:
    """Add the results of a scan, if there are any, to the history of the site.

    Raises
    ------
    medscan.errors.UsageError
        If the file is something else.
    medscan.errors.DiskError
        If it cannot be written; the next scan adds what is missing.
    """
    if out.exists():
        from medscan import results

        with History(path) as history:
            history.add(results.open(out))


def entries_of(results: Results) -> Iterator[Entry]:
    """What results hold of each stack that says when it was scored."""
    for study in results.ranked():
        for stack in study.stacks:
            if night := night_of(str(stack.info.get("scanned") or "")):
                yield _of_stack(study.key, stack, night)


def _of_stack(study: str, stack: StackResult, night: str) -> Entry:
    told = (printable(str(text), LONGEST) for text in stack.info.get("device") or ())
    device: dict[str, Any] = dict(zip(_DEVICE, told, strict=False))
    return Entry(
        study,
        stack.source_key,
        str(stack.info["detector_hash"]),
        printable(str(stack.info["detector"]), LONGEST),
        night,
        stack.score,
        stack.flagged,
        stack.uncertain,
        stack.count(State.FAILED) > 0,
        unlike=bool(stack.unlike),
        distance=float(stack.info.get("distance", math.nan)),
        **device,
    )


def night_of(moment: str) -> str:
    """Day on whose evening the night of a moment (ISO 8601) began; empty if it is none."""
    try:
        return (datetime.datetime.fromisoformat(moment) - _EVENING).date().isoformat()
    except (ValueError, OverflowError):
        return ""


def _row(entry: Entry) -> tuple[object, ...]:
    values = astuple(entry)
    return tuple(None if isinstance(v, float) and math.isnan(v) else v for v in values)


def _entry(row: tuple[object, ...]) -> Entry:
    """An entry from a row of the file; ValueError or TypeError if a value is of another kind."""
    values: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
    for name, value in values.items():
        if name in ("score", "distance"):
            values[name] = math.nan if value is None else float(value)
        elif name in ("flagged", "uncertain", "unlike", "failed"):
            values[name] = bool(value)
        else:
            values[name] = printable(str(value), LONGEST)
    datetime.date.fromisoformat(values["night"])
    return Entry(**values)


def _verdicts(path: Path, known: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    columns = {name: name for name in ("study", "verdict", "stack", "slice")}
    for row in read_table(path, columns, {"study", "verdict"}.issubset, _ADVICE):
        study, verdict = row.cells["study"], row.cells["verdict"].casefold()
        part = row.cells.get("stack") or row.cells.get("slice")
        if not verdict or (part and verdict != "abnormal"):
            continue
        if verdict not in VERDICTS:
            shown = printable(verdict, 40)
            raise UsageError(
                f"{path} row {row.number}: unknown verdict '{shown}': write {', '.join(VERDICTS)}"
            )
        key = study if study in known else key_of(study)
        if key in known and found.get(key) != "abnormal":
            found[key] = verdict
    return found
