"""Shards of an archive: disjoint parts of its studies, complete and the same on every machine.

A study is assigned by the hash of its UID; without a UID, of its series' UID; without that, of its
path below the archive root, in a BIDS data set the path of its session. A file that belongs to no
study is assigned by itself in the same way.
"""

from __future__ import annotations

from medscan.archive.grouping import identity_of, key_of
from medscan.archive.header import Record, Sidecar
from medscan.archive.types import Catalogue, Outcome, Study
from medscan.choices import Shard


def is_needed(shard: Shard, record: Record) -> bool:
    """Whether grouping the files of a shard depends on this one, which may belong to another.

    A file without an image may hold the voxels of a header file in any shard, or describe images
    of any. An image without study and series UIDs may have copies in any shard.
    """
    if isinstance(record, Outcome | Sidecar) or (record.volume and record.volume.companion):
        return True
    uids = record.study_uid, record.series_uid
    unnamed = record.sop_instance_uid and not any(uids)
    return bool(unnamed) or _in_shard(shard, identity_of(record.file, *uids))


def restrict_to_shard(catalogue: Catalogue, shard: Shard) -> Catalogue:
    """The shard's part of a catalogue; a file of voxels goes with its header file."""
    aside, companions = catalogue.set_aside, catalogue.companions
    return Catalogue(
        tuple(s for s in catalogue.studies if shard_number(s, shard.count) == shard.number),
        tuple(o for o in aside if _in_shard(shard, identity_of(o.file, o.study, o.series))),
        {
            voxels: header
            for voxels, header in companions.items()
            if _in_shard(shard, identity_of(header))
        },
    )


def _in_shard(shard: Shard, identity: str) -> bool:
    return _hashed_number(identity, shard.count) == shard.number


def shard_number(study: Study, count: int) -> int:
    """Number, from 1, of the shard that a study belongs to when there are `count`."""
    series = study.series[0]
    file = series.stacks[0].frames[0].file
    return _hashed_number(identity_of(file, study.uid, series.uid), count)


def _hashed_number(identity: str, count: int) -> int:
    return int(key_of(identity), 16) % count + 1
