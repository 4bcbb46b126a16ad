"""Exported objects -> a PACS: each once, to the study that it was made from, and confirmed.

A server is asked before, whose the study is and what it holds. What a DICOMweb service says of
objects that it was sent is not believed alone: it is asked afterwards, what it holds now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, groupby
from pathlib import Path
from typing import Protocol

from medscan.archive import key_of
from medscan.errors import LoginError, PacsError, UnavailableError
from medscan.pacs import (
    GIVE_UP_AFTER,
    Answer,
    Database,
    DicomObject,
    NotSent,
    patiently,
    reason,
)

TABLES = """
CREATE TABLE IF NOT EXISTS sent (
    target TEXT, instance TEXT, digest TEXT NOT NULL, stored INTEGER NOT NULL, why TEXT NOT NULL,
    tries INTEGER NOT NULL, PRIMARY KEY (target, instance)) WITHOUT ROWID;
"""
"""What became of each object at each PACS."""
BATCH, BATCH_BYTES = 32, 1 << 25
"""Most objects of one request, and most bytes unless it is a single one."""
LOOKS_S = (0.0, 0.5, 2.0)
"""Seconds before each look whether objects are stored: some servers list them a little later."""


Watch = Callable[[int, int, int, int], None]
"""`watch(studies dealt with, studies, objects dealt with, problems)`, after each object."""


class Target(Protocol):
    """Where objects are sent to; see `medscan.pacs.Web` and `medscan.pacs.Node`."""

    answers_each: bool
    """Whether what it says of an object is believed; else it is asked afterwards what it holds."""

    def patients(self, study: str) -> set[str] | None:
        """Return the PatientIDs that it has for a study; None if it answers no queries."""

    def holds(self, study: str, series: str) -> set[str] | None:
        """Return the instances that it has of a series; None if it answers no queries."""

    def has_same(self, one: DicomObject) -> bool:
        """Whether what it has under the UID of an object is that object."""

    def store(self, objects: Sequence[DicomObject]) -> Answer:
        """Send objects, and return what it says of each."""


@dataclass(slots=True)
class Sent:
    """What became of the objects.

    Parameters
    ----------
    stored, kept, there : int
        Objects that were stored now, that the ledger has as stored, and that were found there.
    refused : int
        Objects that are not stored.
    left_out : int
        Files that are never sent.
    seconds : float
    problems : list of str
        A line for each object that is not stored, and for each that was changed.
    stopped : str
        Why the rest was left for later; empty if nothing was.
    """

    stored: int = 0
    kept: int = 0
    there: int = 0
    refused: int = 0
    left_out: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    stopped: str = ""

    def line(self) -> str:
        """Return a summary for people."""
        rate = f" ({self.stored / self.seconds:.0f}/s)" if self.stored and self.seconds else ""
        return (
            f"{self.stored} objects stored{rate}, {self.kept + self.there} there before, "
            f"{self.refused} not stored, {self.left_out} files not to be sent"
        )


def send(
    found: Iterable[DicomObject | NotSent],
    target: Target,
    name: str,
    ledger: Database,
    *,
    new_studies: bool = False,
    watch: Watch = lambda *_: None,
) -> Sent:
    """Send objects to a PACS that the ledger does not have as stored there.

    Parameters
    ----------
    found : iterable of DicomObject or NotSent
    target : Target
    name : str
        The target's name in the ledger.
    ledger : Database
        With `TABLES`.
    new_studies : bool
        Send objects although the PACS does not have their study.
    watch : callable
        Shows progress; see `Watch`.
    """
    done, begun = Sent(), time.monotonic()
    stored = dict(ledger.all("SELECT instance, digest FROM sent WHERE target = ? AND stored", name))
    due: list[DicomObject] = []
    for one in found:
        if isinstance(one, NotSent):
            done.left_out += 1
        elif stored.get(one.instance) == one.digest:
            done.kept += 1
        else:
            due.append(one)
    due.sort(key=lambda one: (one.study, one.series, one.instance))
    run = _Run(target, name, ledger, done, watch, new_studies=new_studies)
    run.send(due)
    done.seconds = time.monotonic() - begun
    return done


class _Run:
    """Sends objects to one PACS."""

    def __init__(
        self,
        target: Target,
        name: str,
        ledger: Database,
        done: Sent,
        watch: Watch,
        *,
        new_studies: bool,
    ) -> None:
        self.target, self.name, self.ledger, self.done = target, name, ledger, done
        self.watch, self.new_studies = watch, new_studies
        self._finished = self._studies = 0
        self._settled: set[str] = set()

    def send(self, due: Sequence[DicomObject]) -> None:
        """Send what is due, a study at a time."""
        in_a_row = 0
        self._studies = len({one.study for one in due})
        for study, group in groupby(due, key=lambda one: one.study):
            objects = list(group)
            try:
                self._send_study(study, objects)
                in_a_row = 0
            except LoginError:
                raise
            except PacsError as error:
                for one in (o for o in objects if o.instance not in self._settled):
                    self._note(one, str(error))
                in_a_row += isinstance(error, UnavailableError)
                if in_a_row == GIVE_UP_AFTER:
                    self.done.stopped = f"{error}; the rest is left for later"
                    return
            self._finished += 1
            self._tell()

    def _tell(self) -> None:
        done = self.done
        self.watch(self._finished, self._studies, len(self._settled), len(done.problems))

    def _send_study(self, study: str, objects: list[DicomObject]) -> None:
        patients = patiently(partial(self.target.patients, study))
        for series, group in groupby(objects, key=lambda one: one.series):
            there = patiently(partial(self.target.holds, study, series)) or set()
            due = [one for one in group if self._may_go(one, patients) and self._is_new(one, there)]
            for batch in batches(due):
                self._send_batch(study, series, batch)

    def _may_go(self, one: DicomObject, patients: set[str] | None) -> bool:
        """Whether the PACS has the study of an object, and as that of the same patient."""
        if patients is None or one.patient_id.strip() in {p.strip() for p in patients}:
            return True
        if not patients and self.new_studies:
            return True
        why = "its study is that of another patient there" if patients else "its study is not there"
        self._note(one, why)
        return False

    def _is_new(self, one: DicomObject, there: set[str]) -> bool:
        """Whether the PACS does not have an object yet, nor another one under its UID."""
        if one.instance not in there:
            return True
        if patiently(partial(self.target.has_same, one)):
            self._note(one, "", stored=True)
            self.done.there += 1
        else:
            self._note(one, "another object has its UID there")
        return False

    def _send_batch(self, study: str, series: str, batch: list[DicomObject]) -> None:
        """Send objects, and again those that a PACS which went away meanwhile does not have.

        Of several that are refused together, each is sent alone: one may be to blame.
        """
        tries = count()

        def store() -> Answer:
            again = next(tries) > 0
            held = (self.target.holds(study, series) if again else None) or set()
            answer = self.target.store([one for one in batch if one.instance not in held])
            answer.referenced.update((one.instance, 0) for one in batch if one.instance in held)
            return answer

        try:
            answer = patiently(store)
        except (LoginError, UnavailableError):
            raise
        except PacsError as error:
            if len(batch) == 1:
                self._note(batch[0], str(error))
            else:
                for one in batch:
                    self._send_batch(study, series, [one])
            return
        held = None if self.target.answers_each else self._held(study, series, answer)
        for one in batch:
            self._settle(one, answer, held)

    def _settle(self, one: DicomObject, answer: Answer, held: set[str] | None) -> None:
        """Record what became of an object: what is there counts more than what was said."""
        failure = answer.failed.get(one.instance)
        said = one.instance in answer.referenced
        if held is None:
            stored = said
        else:
            stored = one.instance in held and (failure is None or self.target.has_same(one))
        if stored:
            self._note(one, reason(answer.referenced.get(one.instance, 0)), stored=True)
            self.done.stored += 1
        elif failure is not None:
            self._note(one, reason(failure))
        else:
            self._note(
                one, "said to be stored, but not there" if said else "nothing was said of it"
            )

    def _held(self, study: str, series: str, answer: Answer) -> set[str] | None:
        """What the PACS has of a series, once that is all that it says it stored, or time is up."""
        held: set[str] | None = None
        for wait_s in LOOKS_S:
            time.sleep(wait_s)
            held = patiently(partial(self.target.holds, study, series))
            if held is None or held.issuperset(answer.referenced):
                break
        return held

    def _note(self, one: DicomObject, why: str, *, stored: bool = False) -> None:
        """Record what became of an object."""
        self._settled.add(one.instance)
        query = """
            INSERT INTO sent VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT (target, instance) DO UPDATE
            SET digest = excluded.digest, stored = excluded.stored, why = excluded.why,
            tries = tries + 1"""
        self.ledger.run(query, (self.name, one.instance, one.digest, stored, why))
        self.done.refused += not stored
        if why:
            what = f"{one.kind} {one.path.name} of study {key_of(one.study)}"
            self.done.problems.append(f"{what}: {why}")
        self._tell()


def batches(objects: Sequence[DicomObject]) -> Iterator[list[DicomObject]]:
    """Divide objects into small requests."""
    batch: list[DicomObject] = []
    size = 0
    for one in objects:
        if batch and (len(batch) == BATCH or size + one.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += one.size
    if batch:
        yield batch


def ledger_beside(paths: Sequence[Path]) -> Path | None:
    """Return the ledger beside the folder that holds all objects; None if there are several."""
    folders = {path if path.is_dir() else path.parent for path in map(Path.absolute, paths)}
    if len(folders) != 1 or not (folder := folders.pop()).name:
        return None
    return folder.with_name(f"{folder.name}.sent")
