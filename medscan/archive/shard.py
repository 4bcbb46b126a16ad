"""Shards of an archive: shares of its studies that are disjoint, complete, the same everywhere.

A study is hashed by its UID, without one by the UID of its series, without either by its path
below the archive root. A file of no study is hashed in the same way by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from medscan.archive.grouping import identity_of, key_of
from medscan.archive.header import Header
from medscan.archive.types import Catalogue, Outcome, Study


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` shares of an archive.

    Parameters
    ----------
    number : int
        From 1.
    count : int
    """

    number: int
    count: int

    def __str__(self) -> str:
        """As the command line has it."""
        return f"{self.number}/{self.count}"

    def needs(self, found: Header | Outcome) -> bool:
        """Whether its files cannot be grouped without this one.

        A file that is no image may hold the voxels of a header file of any share; of images that
        name no study and no series, copies may lie in others.
        """
        if isinstance(found, Outcome) or (found.volume and found.volume.companion):
            return True
        uids = found.study_uid, found.series_uid
        nameless = found.sop_instance_uid and not any(uids)
        return bool(nameless) or self._has(identity_of(found.file, *uids))

    def of(self, catalogue: Catalogue) -> Catalogue:
        """Its share of a catalogue; a file of voxels goes with its header."""
        aside, companions = catalogue.set_aside, catalogue.companions
        return Catalogue(
            tuple(s for s in catalogue.studies if number_of(s, self.count) == self.number),
            tuple(o for o in aside if self._has(identity_of(o.file, o.study, o.series))),
            {one: header for one, header in companions.items() if self._has(identity_of(header))},
        )

    def _has(self, identity: str) -> bool:
        return _number(identity, self.count) == self.number


def number_of(study: Study, count: int) -> int:
    """The shard, from 1, of `count` that a study belongs to."""
    series = study.series[0]
    file = series.stacks[0].frames[0].file
    return _number(identity_of(file, study.uid, series.uid), count)


def _number(identity: str, count: int) -> int:
    return int(key_of(identity), 16) % count + 1
