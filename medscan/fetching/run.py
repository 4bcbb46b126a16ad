"""Studies of a PACS -> a folder that scans read: whole, once, and within bounds.

What a series holds is asked first, and what arrives is held against it: nothing else tells an
answer that was cut short, or that left an object out, from one that is complete. A study is moved
to where scans look when all of it is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from medscan.archive import ArchiveFile, Bucket, Header, Outcome, key_of, read_header, text
from medscan.errors import DiskError, FullError, LoginError, PacsError, UnavailableError
from medscan.fetching.spool import SPARE, Held, Spool
from medscan.fetching.wish import SERIES_FIELDS, STUDY_FIELDS, Wish
from medscan.pacs import GIVE_UP_AFTER, patiently

ROUNDS = 3
"""Times that a study is asked for again because it has grown meanwhile."""
FULL = "{} holds as much as it may: scan, then `medscan fetch --forget` what is published"
DISK_FULL = "the disk of {} is full, but for {:.0f} MiB that stay free: make room on it"
_IDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


class Source(Protocol):
    """What studies are fetched from; see `medscan.pacs.Web`."""

    def studies(self, filters: dict[str, str], fields: tuple[str, ...]) -> Iterator[Dataset]:
        """Yield what it says of studies."""

    def series(self, study: str, fields: tuple[str, ...]) -> Iterator[Dataset]:
        """Yield what it says of the series of a study."""

    def instances(self, study: str, series: str) -> list[str]:
        """Return the UIDs of the instances of a series."""

    def retrieve(self, study: str, series: str, instance: str = "") -> Iterator[Iterator[bytes]]:
        """Yield objects as the pieces that they arrive in."""


@dataclass(slots=True)
class Fetched:
    """What became of the studies that were asked for, and of their objects.

    Every object that the PACS lists in a study is counted once: `fetched`, `kept`, `unwanted` or
    `missing`.

    Parameters
    ----------
    listed : int
        Studies that the PACS has of those that were asked for.
    studies : int
        Those of them that are whole in the folder, or were forgotten after they had been.
    fetched, kept : int
        Objects that came now, and that had come before.
    unwanted : dict
        Number of objects by why their series were left where they are.
    missing : int
        Objects that could not be fetched, or that there was no room for.
    damaged : int
        Objects that are whole as the PACS has them, but cannot be read.
    bytes : int
        Of the objects that came now.
    seconds : float
        Spent on fetching them.
    problems : list of str
        What went wrong, a line each, without identities.
    stopped : str
        Why the rest was left for later: the PACS does not answer any more, or the folder is full.
        Empty if nothing was.
    """

    listed: int = 0
    studies: int = 0
    fetched: int = 0
    kept: int = 0
    unwanted: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    damaged: int = 0
    bytes: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    stopped: str = ""

    def report(self, study: str, why: str) -> None:
        """Add a line about a study to the problems."""
        self.problems.append(f"study {key_of(study)}: {why}")

    def line(self) -> str:
        """Return a summary for people."""
        rate = self.fetched / self.seconds if self.seconds else 0.0
        came = f"{self.fetched} objects fetched"
        came += f" ({self.bytes / 1e6:.0f} MB, {rate:.0f}/s)" if self.fetched else ""
        return (
            f"{self.studies} of {self.listed} studies whole: {came}, {self.kept} there before, "
            f"{sum(self.unwanted.values())} not wanted, {self.missing} missing"
        )


Watch = Callable[[int, int, int, int], None]
"""`watch(studies dealt with, studies, objects that came, problems)`, after each object."""


def fetch(
    source: Source,
    spool: Spool,
    wish: Wish,
    limit: int | None = None,
    watch: Watch = lambda *_: None,
) -> Fetched:
    """Fetch what is wanted and not there yet.

    Parameters
    ----------
    source : Source
    spool : Spool
    wish : Wish
    limit : int or None
        Bytes that the folder may hold.
    watch : callable
        Told how far it is.

    Raises
    ------
    UnavailableError
        If the PACS does not say which studies it has.
    LoginError
        If it refuses the login.
    DiskError
        If a file cannot be written.
    """
    done, in_a_row = Fetched(), 0
    wanted = patiently(lambda: _studies(source, wish))
    done.listed = len(wanted)
    uids = {text(found, _IDS[0]) for found in wanted}
    for uid in dict.fromkeys(wish.studies):
        if uid not in uids:
            done.report(uid, f"the PACS has no such study{wish.narrowed}")
    for number, found in enumerate(wanted):
        tell = partial(_tell, watch, done, number)
        study = _Study(source, spool, wish, limit, done, found, tell)
        tell()
        try:
            study.fetch()
            in_a_row = 0
        except LoginError:
            raise
        except PacsError as error:
            done.report(study.uid, str(error))
            in_a_row += isinstance(error, UnavailableError)
            if in_a_row == GIVE_UP_AFTER:
                done.stopped = f"{error}; the rest is left for the next fetch"
                break
        except FullError as error:
            study.drop()
            if spool.bytes or not spool.disk_has_room():
                done.stopped = str(error)
                break
            done.report(study.uid, "it is larger than the room that the folder has")
        finally:
            study.count()
    if not done.stopped:
        _tell(watch, done, done.listed)
        spool.drop_partial_but(uids)
    return done


def _tell(watch: Watch, done: Fetched, finished: int) -> None:
    watch(finished, done.listed, done.fetched, len(done.problems))


def _studies(source: Source, wish: Wish) -> list[Dataset]:
    """Studies that are wanted, each once."""
    found: dict[str, Dataset] = {}
    for filters in wish.filters():
        for study in source.studies(filters, STUDY_FIELDS):
            if wish.wants_study(study):
                found.setdefault(text(study, _IDS[0]), study)
    return list(found.values())


class _Study:
    """Fetches one study."""

    def __init__(
        self,
        source: Source,
        spool: Spool,
        wish: Wish,
        limit: int | None,
        done: Fetched,
        found: Dataset,
        tell: Callable[[], None],
    ) -> None:
        self.tell = tell
        self.source, self.spool, self.wish, self.limit = source, spool, wish, limit
        self.done, self.found, self.uid = done, found, text(found, _IDS[0])
        self.listed: set[tuple[str, str]] = set()
        self.unwanted: dict[str, int] = {}
        self.held: dict[tuple[str, str], Held] = {}
        self.came: dict[tuple[str, str], Held] = {}

    def fetch(self) -> None:
        """Fetch what is wanted of it, until that is all there is."""
        self._list()
        self.held = self.spool.objects(self.uid)
        if self.listed - self.held.keys() and any(one.forgotten for one in self.held.values()):
            self.spool.remember(self.uid)  # one that has grown is scanned whole
            self.held = self.spool.objects(self.uid)
        for _ in range(ROUNDS):
            self._fetch()
            before = self.listed
            self._list()
            grown = self.listed != before
            if not grown:
                break
        missing = self.listed - self.held.keys()
        if missing or grown:
            what = f"{len(missing)} objects are missing" if missing else "it is still growing"
            self.done.report(self.uid, f"{what}; left for the next fetch")
            return
        self.spool.deliver(self.uid)
        self.done.studies += 1

    def drop(self) -> None:
        """Remove what there is of it while it is incomplete."""
        self.spool.drop_partial(self.uid)
        self.held = self.spool.objects(self.uid)
        self.done.fetched -= len(self.came)
        self.done.bytes -= sum(one.size for one in self.came.values())
        self.done.damaged -= sum(bool(one.damage) for one in self.came.values())
        self.came = {}

    def count(self) -> None:
        """Count the objects that are listed and did not come now, whatever ended it."""
        self.done.kept += len((self.listed & self.held.keys()) - self.came.keys())
        self.done.missing += len(self.listed - self.held.keys())
        for why, count in self.unwanted.items():
            self.done.unwanted[why] = self.done.unwanted.get(why, 0) + count

    def _list(self) -> None:
        """Ask for the UIDs of series and instance of all objects that are wanted."""
        listed: set[tuple[str, str]] = set()
        unwanted: dict[str, int] = {}
        for found in patiently(lambda: list(self.source.series(self.uid, SERIES_FIELDS))):
            series, stated = text(found, _IDS[1]), _count(found)
            if why := self.wish.refusal(self.found, found):
                unwanted[why] = unwanted.get(why, 0) + stated
                self.spool.note_series(self.uid, series, stated, why)
                continue
            uids = patiently(partial(self.source.instances, self.uid, series))
            if len(uids) < stated:
                raise PacsError(f"{len(uids)} of the {stated} objects of a series are listed")
            self.spool.note_series(self.uid, series, len(uids), "")
            listed.update((series, uid) for uid in uids)
        self.listed, self.unwanted = listed, unwanted

    def _fetch(self) -> None:
        """Ask for each series that lacks much, then for each object that still lacks."""
        begun = time.monotonic()
        try:
            for series in sorted({series for series, _ in self.listed - self.held.keys()}):
                expected = {one for one in self.listed if one[0] == series}
                if 2 * len(expected - self.held.keys()) > len(expected):
                    patiently(partial(self._receive, expected, series))
                for _, instance in sorted(expected - self.held.keys()):
                    patiently(partial(self._receive_one, expected, series, instance))
        finally:
            self.done.seconds += time.monotonic() - begun

    def _receive_one(self, expected: set[tuple[str, str]], series: str, instance: str) -> None:
        try:
            self._receive(expected, series, instance)
        except UnavailableError:
            raise
        except PacsError:  # one that it does not give: the others are fetched, and it is missing
            return

    def _receive(self, expected: set[tuple[str, str]], series: str, instance: str = "") -> None:
        """Take in what was asked for and is not there yet, an object at a time.

        An object counts once its end has arrived, and what it says that it is has been checked.
        """
        path = self.spool.arriving
        for pieces in self.source.retrieve(self.uid, series, instance):
            size = self._write(path, pieces)
            *above, uid, damage = identify(path, size)
            if above != [self.uid, series] or (series, uid) not in expected:
                continue  # of another study, or not what was asked for: it stays missing
            if (series, uid) in self.held:
                continue
            path.replace(self.spool.place(self.uid, series, uid))
            held = Held(series, uid, size, damage, forgotten=False)
            self.spool.note_object(self.uid, held)
            self.held[series, uid] = self.came[series, uid] = held
            self.done.fetched += 1
            self.done.bytes += size
            self.tell()
            if damage:
                self.done.damaged += 1
                self.done.report(self.uid, f"an object is damaged in the PACS: {damage}")
        path.unlink(missing_ok=True)

    def _write(self, path: Path, pieces: Iterator[bytes]) -> int:
        """Write an object to a file, unless the folder would hold more than it may."""
        size = 0
        try:
            with path.open("wb") as stream:
                for piece in pieces:
                    size += len(piece)
                    if self.limit is not None and self.spool.bytes + size > self.limit:
                        raise FullError(FULL.format(self.spool.folder))
                    if not self.spool.disk_has_room():
                        raise FullError(DISK_FULL.format(self.spool.folder, SPARE / 2**20))
                    stream.write(piece)
        except OSError as error:
            raise DiskError(f"{path.parent} could not be written: {error.strerror}") from error
        return size


def _count(found: Dataset) -> int:
    """Objects that a PACS says a series has; 0 where it does not say."""
    try:
        return int(found.get("NumberOfSeriesRelatedInstances") or 0)
    except (TypeError, ValueError):
        return 0


def identify(path: Path, size: int) -> tuple[str, str, str, str]:
    """Read what an object says that it is.

    Returns
    -------
    (str, str, str, str)
        UIDs of study, series and instance, empty where it is no DICOM object; and what is wrong
        with it, as a scan would say, empty if nothing is.
    """
    record = read_header(ArchiveFile(path.name, path.parent, size, 0), by_name=False)
    if isinstance(record, Header):
        return record.study_uid, record.series_uid, record.sop_instance_uid, ""
    damage = ""
    if isinstance(record, Outcome) and record.bucket is Bucket.FAILED:
        damage = f"{record.reason}, {record.detail}"
    try:
        said = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_IDS))
        study, series, instance = (text(said, keyword) for keyword in _IDS)
    except (InvalidDicomError, OSError, ValueError, TypeError, AttributeError, LookupError):
        return "", "", "", damage or "it is no DICOM object"
    return study, series, instance, damage
