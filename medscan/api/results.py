"""Results files for reading: studies in the order of the worklist, and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medscan import report, results
from medscan.api.checked import checked
from medscan.api.scores import Scores
from medscan.api.values import PathLike, path_of
from medscan.errors import UsageError
from medscan.report import TABLES, Row
from medscan.results import StackResult, StudyResult


@dataclass(frozen=True, slots=True, repr=False)
class Study:
    """A study in results, with a `Scores` for each stack of slices that was scored."""

    _row: Row
    _study: StudyResult
    _failures: Mapping[str, str]
    _rows: Mapping[str, Row]

    @classmethod
    def _read(cls, row: Row, failures: Mapping[str, str], rows: Mapping[str, Row]) -> Study:
        """Read a study with all arrays; `rows` are those of all studies by key."""
        return cls(row, row.results.with_arrays(row.study), failures, rows)

    def __repr__(self) -> str:
        rank = f"rank {self.rank}" if self.rank else "not scored"
        return f"<medscan.Study {self.key}: {rank}, {len(self.series)} series>"

    @property
    def key(self) -> str:
        """Key of the study: a hash of its UID, or of its path."""
        return self._study.key

    @property
    def rank(self) -> int | None:
        """Rank in the worklist, from 1; None where nothing was scored."""
        return self._row.rank

    @property
    def uid(self) -> str:
        """StudyInstanceUID; empty for volumes and pictures."""
        return str(self._study.info.get("StudyInstanceUID", ""))

    @property
    def path(self) -> str:
        """Folder or file below the archive root; hashed names unless the scan kept them."""
        return str(self._study.info.get("path", ""))

    @property
    def info(self) -> dict[str, Any]:
        """What the results record of it: date, modality, patient (a pseudonym) and more."""
        return dict(self._study.info)

    @property
    def score(self) -> float:
        """Score of its most abnormal stack; NaN where nothing was scored."""
        return self._row.score

    @property
    def percentile(self) -> float:
        """Percentage of normals that score below that stack; NaN when unknown."""
        return self._row.worst.percentile if self._row.worst else math.nan

    @property
    def expected(self) -> float:
        """Share of normal studies to expect at this place of the worklist or above, 0 to 1."""
        return self._row.place.study.expected

    @property
    def flagged(self) -> bool:
        """Whether any stack reaches its threshold."""
        return self._study.flagged

    @property
    def uncertain(self) -> bool:
        """Whether it is not flagged, but may not be cleared either; see medscan-accept(1)."""
        return self._study.uncertain

    @property
    def unlike(self) -> bool:
        """Whether a stack is unlike what its detector was fitted on; see `Scores.unlike`."""
        return self._study.unlike

    @property
    def stale(self) -> bool:
        """Whether a detector or the preprocessing has changed since it was scored."""
        return self._study.mark.stale

    @property
    def absent(self) -> str:
        """When its files were first found missing, ISO 8601; empty while they exist."""
        return self._study.mark.absent

    @property
    def reason(self) -> str:
        """Why nothing was scored, or what was left out; empty if nothing was."""
        return self._row.reason

    @property
    def series(self) -> tuple[Scores, ...]:
        """What was scored: an entry for each stack; most series are one stack."""
        return tuple(Scores(stack, self._failures_of(stack)) for stack in self._study.stacks)

    @property
    def earlier(self) -> tuple[Study, ...]:
        """Studies of the same patient on earlier days, the last first; see medscan-report(1)."""
        rows = (self._rows[row.study.key] for row in self._row.earlier)
        return tuple(Study._read(row, self._failures, self._rows) for row in rows)

    def _failures_of(self, stack: StackResult) -> dict[str, str]:
        found = {path: self._failures.get(path) for path in stack.path}
        return {path: why for path, why in found.items() if why is not None}


class Results:
    """One or several results files, read as one; make it with `open_results`.

    Iterating over it yields a `Study` for each, most abnormal first; a study is read when it comes.
    """

    def __init__(self, files: Sequence[results.Results]) -> None:
        self._files = list(files)
        self._runs = [file.run() for file in self._files]
        self._rows = {row.study.key: row for row in report.rank(self._files)}

    def __repr__(self) -> str:
        return f"<medscan.Results of {len(self)} studies>"

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Study]:
        return map(self._read, self._rows.values())

    @checked
    def study(self, name: str) -> Study:
        """Read the study with this key or StudyInstanceUID.

        Raises
        ------
        UsageError
            If there is none.
        """
        for key, row in self._rows.items():
            if name and name in (key, row.study.info.get("StudyInstanceUID")):
                return self._read(row)
        raise UsageError(f"no study {name!r} in {self!r}")

    @checked
    def table(self, name: str = "results") -> list[dict[str, str | int | float | None]]:
        """Return a table as a list of its rows, which `pandas.DataFrame` takes.

        Parameters
        ----------
        name : str
            results, a row per study; series, a row per stack; or slices, a row per slice. Columns
            are those of the CSV files of `medscan report`; medscan-results(5) says what they mean.

        Raises
        ------
        UsageError
            If there is no such table.
        """
        if name not in TABLES:
            raise UsageError(f"no table {name!r}: choose one of {', '.join(TABLES)}")
        return list(report.table_records(self._files, name))

    @property
    def detectors(self) -> list[dict[str, Any]]:
        """The detectors of the scores: name, hash, domain, threshold, normals and more."""
        found = (detector for run in self._runs for detector in run.detectors)
        return list({str(detector["hash"]): detector for detector in found}.values())

    @property
    def damaged(self) -> list[str]:
        """A line for each file with damaged studies, which are left out; it names them."""
        return results.damage_lines(self._files)

    def _read(self, row: Row) -> Study:
        return Study._read(row, report.failure_messages(self._runs), self._rows)


def open_results(*paths: PathLike) -> Results:
    """Open the results of a scan, or of several, such as shards, as one.

    Parameters
    ----------
    *paths : str or path
        A study that several files hold is taken from the newest that has scored it.

    Raises
    ------
    medscan.errors.UsageError
        If a file does not exist, is none, or was written by a newer version of medscan.
    medscan.errors.DamagedError
        If a file is damaged so that none of its studies can be read.
    """
    if not paths:
        raise UsageError("name a results file, such as results.h5")
    return Results(results.select_studies([results.open(path_of(path)) for path in paths]))
