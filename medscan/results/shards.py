"""Check that the results of an archive's shards are complete."""

from __future__ import annotations

from collections.abc import Sequence

from medscan.errors import UsageError
from medscan.results.reader import Results


def missing_shards(files: Sequence[Results]) -> list[str]:
    """List the shards, such as 3/16, that are missing among files of as many shards.

    None is missing beside a file of the whole archive: one without a shard that holds a study of
    theirs.

    Raises
    ------
    UsageError
        If the files were made with different keys: the shards were cut differently then, and a
        study may be in none of them.
    """
    shards = [(file, shard) for file in files if (shard := file.shard())]
    first = next(iter(shards), None)
    for file, _ in shards:
        if first and file.key_fingerprint() != first[0].key_fingerprint():
            raise UsageError(
                f"{first[0].path} and {file.path} are shards made with different keys: "
                "scan again with one --key-file"
            )
    whole = set[str]().union(*(file.keys() for file in files if not file.shard()))
    if any(not whole.isdisjoint(file.keys()) for file, _ in shards):
        return []
    present = {shard for _, shard in shards}
    counts = sorted({int(shard.partition("/")[2]) for shard in present})
    expected = (f"{number}/{count}" for count in counts for number in range(1, count + 1))
    return [shard for shard in expected if shard not in present]
