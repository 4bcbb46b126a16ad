"""Results of the shards of an archive, read together."""

from __future__ import annotations

from collections.abc import Sequence

from medscan.errors import UsageError
from medscan.results.reader import Results


def missing_shards(files: Sequence[Results]) -> list[str]:
    """Shards that none of several files is of, such as 3/16, where there is another of as many.

    Raises
    ------
    UsageError
        Files of shards were made with different keys: a study may be in none of them.
    """
    shards = [(file, shard) for file in files if (shard := file.shard())]
    first = next(iter(shards), None)
    for file, _ in shards:
        if first and file.key_fingerprint() != first[0].key_fingerprint():
            raise UsageError(
                f"{first[0].path} and {file.path} are shards made with different keys: "
                "scan again with one --key-file"
            )
    there = {shard for _, shard in shards}
    counts = sorted({int(shard.partition("/")[2]) for shard in there})
    named = (f"{number}/{count}" for count in counts for number in range(1, count + 1))
    return [shard for shard in named if shard not in there]
