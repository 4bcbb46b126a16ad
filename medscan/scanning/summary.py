"""The summary that a scan gives at its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from medscan.archive import Bucket, Reason
from medscan.coverage import Coverage
from medscan.errors import LedgerError, MedscanError
from medscan.planning import FileEntry
from medscan.profile import Profile

log = logging.getLogger("medscan.scan")


@dataclass(slots=True)
class Summary:
    """What a scan did; `medscan scan --json` prints it without the entries."""

    files: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    studies: int = 0
    scanned: int = 0
    unscored: int = 0
    unchanged: int = 0
    arriving: int = 0
    left: int = 0
    quarantined: int = 0
    stale: int = 0
    absent: int = 0
    pruned: int = 0
    slices: int = 0
    repeated: int = 0
    passed_over: int = 0
    flagged: int = 0
    uncertain: int = 0
    unlike: int = 0
    header_unused: int = 0
    coverage: Coverage = field(default_factory=Coverage)
    seconds: float = 0.0
    stopped: str = ""
    failure: str = ""
    unwritten: list[str] = field(default_factory=list)
    worse: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    out: str = ""
    shard: str = ""
    profile: Profile = field(default_factory=Profile)
    entries: list[FileEntry] = field(default_factory=list, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return all fields but the entries, for JSON."""
        names = [f.name for f in fields(self) if f.name not in ("entries", "profile", "coverage")]
        others = {"coverage": asdict(self.coverage), "profile": self.profile.as_dict()}
        return {name: getattr(self, name) for name in names} | others

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the seconds that a stage takes."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.stages[name] = round(time.monotonic() - started, 3)
            log.info("stage ended", extra={"stage": name, "seconds": self.stages[name]})

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write an output beside the results; one that cannot be written is told of at the end.

        Raises
        ------
        LedgerError
            If the ledger is damaged: the scan makes a new one, and writes again.
        """
        try:
            yield
        except LedgerError:
            raise
        except MedscanError as error:
            facts = {"reason": type(error).__name__, "told": True}
            log.log(logging.ERROR, "output not written", extra=facts)
            self.unwritten.append(str(error))

    def line(self) -> str:
        """Return one line for people and cron mails."""
        total = sum(self.files.values())
        counts = ", ".join(f"{n} {bucket}" for bucket, n in self.files.items())
        if self.arriving:
            counts += f"; {self.arriving} studies still arriving"
        if self.stopped and not self.files:
            text = f"stopped ({self.stopped}) while the archive was read; the next scan goes on"
        elif not self.studies:
            image = "none to scan yet" if self.arriving else "none with an image"
            text = f"nothing to scan: {total} files found, {image} ({counts})"
        elif not self.scanned and not self.left:
            text = f"nothing new: {self.studies} studies unchanged; {total} files: {counts}"
        else:
            written = f"results in {self.out}" if Path(self.out).exists() else "no results written"
            text = f"{self._work()}; {total} files: {counts}; {written}"
        text = f"shard {self.shard}: {text}" if self.shard else text
        text = "; ".join(filter(None, [text, self.coverage.text()]))
        return "; ".join([text, *self._result_notes(), *self.coverage.notes(), *self.notes])

    def _work(self) -> str:
        scanned = self.scanned - self.unscored
        counted = {"uncertain": self.uncertain, "unlike what detectors were fitted on": self.unlike}
        doubtful = "".join(f"{count} {what}, " for what, count in counted.items() if count)
        repeated = f", {self.repeated} of them repeated," * bool(self.repeated)
        passed_over = f" and {self.passed_over} passed over" * bool(self.passed_over)
        slices = f"{self.slices} slices{repeated}{passed_over}"
        text = (
            f"{scanned} studies scanned ({slices} in {self.seconds:.0f} s), "
            f"{self.flagged} flagged, {doubtful}{self.unchanged} unchanged"
        )
        if self.stopped:
            text += f", {self.left} left over ({self.stopped})"
        return text

    def _result_notes(self) -> list[str]:
        """Describe results that are marked or dropped, and studies in quarantine."""
        counts = {
            "stale": self.stale,
            "of absent studies": self.absent,
            "dropped": self.pruned,
        }
        marked = [f"{count} {what}" for what, count in counts.items() if count]
        quarantine = [f"{self.quarantined} studies in quarantine"] * bool(self.quarantined)
        linked = self.reasons.get(str(Reason.LINKED))
        links = [f"{linked} symbolic links out of the archive are not followed"] * bool(linked)
        return [*(["results: " + ", ".join(marked)] if marked else []), *quarantine, *links]

    @property
    def problems(self) -> list[str]:
        """Why the scan did not do all that it was asked to, a line each; its exit status is 1."""
        failure = [f"{self.failure}; {self.left} studies are left over"] * bool(self.failure)
        return [*failure, *self.unwritten]

    def faults(self, *, strict: bool = False) -> list[str]:
        """Return what a person must hear about, a line each; none if all is as in the last scan.

        Parameters
        ----------
        strict : bool
            Whether files count that have failed before.
        """
        if self.failure:
            return [*self.problems, *self.damage]
        faults, failed = list(self.worse), self.files.get(str(Bucket.FAILED))
        if strict and failed:
            faults.append(f"files that fail, in all: {failed}")
        if faults:
            faults[-1] += "; to list every file, scan again with --accounting files.csv"
        return [*self.problems, *self.damage, *faults]
