"""Shards of an archive: parts of its studies that are disjoint, complete, the same everywhere.

A study is hashed by its UID, without one by the UID of its series, without either by its path
below the archive root. A file of no study is hashed in the same way by itself.
"""

from __future__ import annotations

from medscan.archive.grouping import identity_of, key_of
from medscan.archive.header import Header
from medscan.archive.types import Catalogue, Outcome, Study
from medscan.choices import Shard


def is_needed(shard: Shard, found: Header | Outcome) -> bool:
    """Whether the files of a shard cannot be grouped without this one.

    A file that is no image may hold the voxels of a header file of any shard; of images that
    name no study and no series, copies may lie in others.
    """
    if isinstance(found, Outcome) or (found.volume and found.volume.companion):
        return True
    uids = found.study_uid, found.series_uid
    nameless = found.sop_instance_uid and not any(uids)
    return bool(nameless) or _has(shard, identity_of(found.file, *uids))


def part_of(shard: Shard, catalogue: Catalogue) -> Catalogue:
    """The shard's part of a catalogue; a file of voxels goes with its header."""
    aside, companions = catalogue.set_aside, catalogue.companions
    return Catalogue(
        tuple(s for s in catalogue.studies if number_of(s, shard.count) == shard.number),
        tuple(o for o in aside if _has(shard, identity_of(o.file, o.study, o.series))),
        {one: header for one, header in companions.items() if _has(shard, identity_of(header))},
    )


def _has(shard: Shard, identity: str) -> bool:
    return _number(identity, shard.count) == shard.number


def number_of(study: Study, count: int) -> int:
    """The shard, from 1, of `count` that a study belongs to."""
    series = study.series[0]
    file = series.stacks[0].frames[0].file
    return _number(identity_of(file, study.uid, series.uid), count)


def _number(identity: str, count: int) -> int:
    return int(key_of(identity), 16) % count + 1
