"""What earlier scans read and did, in SQLite beside the results file; one process writes it.

- `headers`: the header of each file, by root, path, size and mtime.
- `catalogue`: the studies that these headers make up, valid until a file changes.
- `work`: how each result came about. results.h5 and the part files say it too: the table is made
  from them again if it is lost, damaged, or belongs to another results file.
- `trouble`: studies whose decoder died or hung, and in how many scans in a row.
- `meta`: which results file `work` agrees with, and the summary of the last scan.

SQLite does not see a changed byte in a value, so rows carry checksums. What is only a copy counts
as missing if it is damaged; a damaged row of `work` makes the whole ledger damaged.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medscan.archive import ArchiveFile
from medscan.errors import DiskError, LedgerError
from medscan.results import Changes, Dropped, Mark, Score, Work

VERSION = 5
"""Version of the tables; those of another version are dropped, since all can be made again."""
TABLES = {
    "headers": """
        root TEXT, path TEXT, size INTEGER, mtime_ns INTEGER, header TEXT, sum INTEGER,
        PRIMARY KEY (root, path)""",
    "catalogue": "name TEXT PRIMARY KEY, content BLOB NOT NULL, sum INTEGER NOT NULL",
    "work": """
        study TEXT PRIMARY KEY, content TEXT NOT NULL, maker TEXT NOT NULL, root TEXT NOT NULL,
        tools TEXT NOT NULL, outcomes TEXT NOT NULL, scores TEXT NOT NULL, stale INTEGER NOT NULL,
        absent TEXT NOT NULL, kept TEXT NOT NULL, skipped TEXT NOT NULL,
        published INTEGER NOT NULL, sum INTEGER NOT NULL
        """,
    "trouble": """
        study TEXT PRIMARY KEY, content TEXT NOT NULL, failures INTEGER NOT NULL, why TEXT NOT NULL
        """,
    "meta": "name TEXT PRIMARY KEY, value TEXT NOT NULL, sum INTEGER NOT NULL",
}
QUARANTINE_AFTER = 3
"""Scans in a row in which a study's decoder dies before later scans skip the study."""
KEEP_S = 5.0
"""Seconds between commits of headers: a scan that is killed loses no more than this."""
BUSY_S = 30.0
"""Longest wait for another process that is writing."""
NO_MARK = Mark()
NOTHING: Dropped = MappingProxyType({})
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_HEADERS = "SELECT path, size, mtime_ns, header, sum FROM headers WHERE root = ? AND path IN ({})"


@dataclass(frozen=True, slots=True)
class DecoderTrouble:
    """A study whose decoder died or hung.

    Parameters
    ----------
    study : str
        Key of the study.
    content : str
        As in its `Work`: once the study changes, counting starts again.
    failures : int
        Number of scans in a row.
    why : str
        How the decoder ended in the last one.
    """

    study: str
    content: str
    failures: int
    why: str

    @property
    def quarantined(self) -> bool:
        """Whether scans skip the study."""
        return self.failures >= QUARANTINE_AFTER


class Ledger:
    """An open ledger. It serves `medscan.archive.index` as its cache of headers.

    Parameters
    ----------
    path : Path or None
        Created with mode 0600 if missing; None: in memory.
    read_only : bool
        Create and write nothing, since a scan may be using the ledger: `put` and `remember` do
        nothing.
    existing : bool
        Refuse a file that is not a ledger of this version, instead of making it one.

    Raises
    ------
    DiskError
        If it cannot be opened.
    LedgerError
        If it is damaged, or not a ledger.
    """

    def __init__(
        self, path: Path | None, *, read_only: bool = False, existing: bool = False
    ) -> None:
        self.path, self.read_only, self.existing = path, read_only, existing
        self._committed = time.monotonic()
        if path is not None and not read_only:
            _touch(path)
        with self._sqlite_errors():
            self._database = _connected(path, read_only=read_only)
            self._database.text_factory = _text
        try:
            with self._sqlite_errors():
                self._prepare()
        except DiskError:
            self.close()
            raise

    def _prepare(self) -> None:
        with closing(self._database.execute("PRAGMA user_version")) as rows:
            is_current = rows.fetchone()[0] == VERSION
        if (self.read_only or self.existing) and not is_current:
            raise LedgerError(
                f"ledger {self.path} is damaged, or of another version; the next scan makes a new "
                "one from the results"
            )
        if self.read_only:
            return
        # No WAL: it does not work on network file systems, where archives often lie.
        self._database.execute("PRAGMA journal_mode = DELETE")
        if is_current:
            return
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            for name, columns in TABLES.items():
                self._database.execute(f"DROP TABLE IF EXISTS {name}")
                self._database.execute(f"CREATE TABLE {name} ({columns}) WITHOUT ROWID")
            self._database.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        """Close the ledger; uncommitted changes are lost."""
        self._database.close()

    # --- headers ------------------------------------------------------------------------------

    def get(self, files: Sequence[ArchiveFile]) -> list[str | None]:
        """Return the stored header of each file; None if there is none or the file has changed."""
        names = [(_safe(str(file.root)), _safe(file.path)) for file in files]
        stored: dict[tuple[str, str], tuple[int, int, str, int]] = {}
        for root in {root for root, _ in names}:
            paths = [path for path_root, path in names if path_root == root]
            query = _HEADERS.format(", ".join("?" * len(paths)))
            stored |= {(root, row[0]): row[1:] for row in self._all(query, (root, *paths))}
        rows = zip(files, (stored.get(name) for name in names), strict=True)
        return [
            r[2] if r and r[:2] == (f.size, f.mtime_ns) and _sum(f.path, *r[:3]) == r[3] else None
            for f, r in rows
        ]

    def put(self, headers: Iterable[tuple[ArchiveFile, str]]) -> None:
        """Store headers of files; they are committed every few seconds and by `commit`."""
        if self.read_only:
            return
        rows = [
            (_safe(str(f.root)), _safe(f.path), *facts, _sum(f.path, *facts))
            for f, header in headers
            for facts in [(f.size, f.mtime_ns, header)]
        ]
        with self._sqlite_errors():
            self._database.executemany(
                "INSERT OR REPLACE INTO headers VALUES (?, ?, ?, ?, ?, ?)", rows
            )
        if time.monotonic() - self._committed > KEEP_S:
            self.commit()

    def recall(self, name: str) -> bytes | None:
        """Return the stored catalogue if it has this name."""
        rows = self._all("SELECT content, sum FROM catalogue WHERE name = ?", (name,))
        return bytes(rows[0][0]) if rows and zlib.crc32(rows[0][0]) == rows[0][1] else None

    def remember(self, name: str, catalogue: bytes) -> None:
        """Store a catalogue in place of the last one; it is committed by `commit`."""
        if self.read_only:
            return
        with self._sqlite_errors():
            self._database.execute("DELETE FROM catalogue")
            values = (name, catalogue, zlib.crc32(catalogue))
            self._database.execute("INSERT INTO catalogue VALUES (?, ?, ?)", values)

    def commit(self) -> None:
        """Commit headers and catalogue."""
        with self._sqlite_errors():
            self._database.commit()
        self._committed = time.monotonic()

    # --- work ---------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise LedgerError if any row of the work is damaged."""
        query = "SELECT * FROM work"
        with self._sqlite_errors(), closing(self._database.execute(query)) as rows:
            intact = all(_sum(*row[:-2]) == row[-1] for row in rows)  # `published` is not in it
        if not intact:
            raise LedgerError(f"ledger {self.path} is damaged")

    def work(self, study: str) -> Work | None:
        """Return how the result of a study came about; None if it has no result."""
        query = "SELECT content, maker, root, tools, outcomes, scores FROM work WHERE study = ?"
        rows = self._all(query, (study,))
        if not rows:
            return None
        content, maker, root, tools, outcomes, scores = rows[0]
        with self._sqlite_errors():
            made = tuple(Score(*score) for score in json.loads(scores))
            return Work(content, maker, root, tools, json.loads(outcomes), made)

    def mark(self, study: str) -> Mark:
        """Return how later scans have marked a result."""
        query = "SELECT stale, absent, kept, skipped FROM work WHERE study = ?"
        for stale, absent, kept, skipped in self._all(query, (study,)):
            with self._sqlite_errors():
                return Mark(bool(stale), absent, tuple(json.loads(kept)), skipped)
        return NO_MARK

    def below(self, root: str) -> list[str]:
        """Return the studies with results below an archive root."""
        return [r[0] for r in self._all("SELECT study FROM work WHERE root = ?", (root,))]

    def finish(self, study: str, work: Work, decoder_failure: str = "") -> None:
        """Record a study whose part file is complete, and how its decoder died, if it did."""
        with self._transaction():
            self._put_work(study, work)
            if decoder_failure:
                self._count_failure(study, work.content, decoder_failure)
            else:
                self._database.execute("DELETE FROM trouble WHERE study = ?", (study,))

    def adopt(self, study: str, work: Work) -> None:
        """Record a study whose part file an earlier scan left; its decoder's fate is unknown."""
        with self._transaction():
            self._put_work(study, work)

    def unpublished(self) -> list[str]:
        """Return the studies whose result is in a part file only."""
        return [row[0] for row in self._all("SELECT study FROM work WHERE NOT published")]

    def restore(self, works: Iterable[tuple[str, Work, Mark]], stamp: str) -> None:
        """Replace all work by that of a results file with the given stamp."""
        with self._transaction():
            self._database.execute("DELETE FROM work")
            for study, work, mark in works:
                self._put_work(study, work, mark, published=True)
            self._put_meta("results", stamp)

    def published(self, stamp: str, changes: Changes, dropped: Dropped = NOTHING) -> None:
        """Record that the results file holds all work, with changed marks; None: result dropped.

        `dropped` holds stacks of these studies whose results were dropped.
        """
        with self._transaction():
            for study, mark in changes.items():
                if mark is None:
                    self._database.execute("DELETE FROM work WHERE study = ?", (study,))
                    continue
                if (work := self.work(study)) is not None:
                    gone = dropped.get(study, ())
                    left = tuple(score for score in work.scores if score.group not in gone)
                    self._put_work(study, replace(work, scores=left), mark, published=True)
            self._database.execute("UPDATE work SET published = 1 WHERE NOT published")
            self._put_meta("results", stamp)

    def _put_work(
        self, study: str, work: Work, mark: Mark = NO_MARK, *, published: bool = False
    ) -> None:
        facts = (work.content, work.maker, work.root, work.tools, json.dumps(work.outcomes))
        marks = (int(mark.stale), mark.absent, json.dumps(mark.kept), mark.skipped)
        values = (study, *facts, json.dumps(work.scores), *marks)
        query = "INSERT OR REPLACE INTO work VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        self._database.execute(query, (*values, published, _sum(*values)))

    def counts(self) -> tuple[int, int, int]:
        """Count the results: all, stale, and those whose files are absent."""
        query = "SELECT count(*), total(stale), total(absent != '') FROM work"
        total, stale, absent = self._all(query)[0]
        return int(total), int(stale), int(absent)

    # --- trouble ------------------------------------------------------------------------------

    def trouble(self, study: str) -> DecoderTrouble | None:
        """Return the record of a study whose decoder died or hung; None if it did not."""
        return next(iter(self._troubles("WHERE study = ?", (study,))), None)

    def troubles(self) -> list[DecoderTrouble]:
        """Return all such records, most failures first."""
        return self._troubles("ORDER BY failures DESC, study", ())

    def _troubles(self, which: str, values: tuple[Any, ...]) -> list[DecoderTrouble]:
        query = f"SELECT study, content, failures, why FROM trouble {which}"  # noqa: S608
        return [DecoderTrouble(*row) for row in self._all(query, values)]

    def _count_failure(self, study: str, content: str, why: str) -> None:
        query = """
            INSERT INTO trouble VALUES (:study, :content, 1, :why)
            ON CONFLICT (study) DO UPDATE SET content = :content, why = :why,
            failures = CASE content WHEN :content THEN failures + 1 ELSE 1 END
        """
        self._database.execute(query, {"study": study, "content": content, "why": why})

    def retry(self, study: str) -> bool:
        """Let the next scan try a study again; return whether its decoder had died."""
        with self._transaction():
            # Otherwise the next scan of an unchanged archive would end before it looks at studies.
            self._database.execute("DELETE FROM meta WHERE name = 'unchanged'")
            deleted = self._database.execute("DELETE FROM trouble WHERE study = ?", (study,))
            return deleted.rowcount > 0

    def forget(self, study: str) -> bool:
        """Let the next scan treat a study as new; return whether anything was recorded of it."""
        had_trouble = self.retry(study)
        with self._transaction():
            deleted = self._database.execute("DELETE FROM work WHERE study = ?", (study,))
            return deleted.rowcount > 0 or had_trouble

    # --- meta ---------------------------------------------------------------------------------

    def meta(self, name: str) -> str:
        """Return the note stored under a name; empty if there is none."""
        rows = self._all("SELECT value, sum FROM meta WHERE name = ?", (name,))
        return str(rows[0][0]) if rows and _sum(name, rows[0][0]) == rows[0][1] else ""

    def note(self, name: str, value: str) -> None:
        """Store a note under a name, for the next scan."""
        with self._transaction():
            self._put_meta(name, value)

    def _put_meta(self, name: str, value: str) -> None:
        values = (name, value, _sum(name, value))
        self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", values)

    # --- SQLite -------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Apply all changes made inside, or none."""
        with self._sqlite_errors(), self._database:
            yield

    def _all(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._sqlite_errors(), closing(self._database.execute(query, values)) as rows:
            return rows.fetchall()

    @contextmanager
    def _sqlite_errors(self) -> Iterator[None]:
        """Raise errors of SQLite as DiskError or LedgerError, in one line."""
        try:
            yield
        except sqlite3.Error as error:
            damaged = getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED
            kind = LedgerError if damaged else DiskError
            raise kind(f"ledger {self.path} cannot be used ({error})") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:  # SQLite quotes damaged text
            raise LedgerError(f"ledger {self.path} is damaged") from error


def _connected(path: Path | None, *, read_only: bool) -> sqlite3.Connection:
    if path is None or not read_only:
        return sqlite3.connect(path or ":memory:", timeout=BUSY_S)
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=BUSY_S, uri=True)


def _touch(path: Path) -> None:
    """Create a file that only its owner may read, unless it exists; never follow a link."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        raise DiskError(f"ledger {path} cannot be written: {error.strerror}") from error


def _sum(*values: object) -> int:
    """Return a checksum of values, the same before they are stored and after."""
    return zlib.crc32("\0".join(map(str, values)).encode("utf-8", "backslashreplace"))


def _text(stored: bytes) -> str:
    """Decode a stored text, even a damaged one, which its checksum then does not fit."""
    return stored.decode("utf-8", "replace")


def _safe(text: str) -> str:
    """Return a path as valid SQLite text; different paths stay different."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
