"""Walk, read and group: an archive's catalogue in one call."""

from __future__ import annotations

import gc
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Protocol

from medscan.archive.copies import Judge, to_compare
from medscan.archive.grouping import group
from medscan.archive.header import NOTHING, Header, Record, Stated, from_json
from medscan.archive.pseudonyms import Pseudonyms
from medscan.archive.readers import Readers
from medscan.archive.shard import is_needed, restrict_to_shard
from medscan.archive.snapshot import digest_of, from_bytes, to_bytes
from medscan.archive.types import TRANSIENT_REASONS, ArchiveFile, Catalogue, Entry, Outcome
from medscan.archive.walk import walk
from medscan.choices import FILE_TIMEOUT_S, Bounds, Plane, Shard

CHUNK = 128
"""Files that are looked up in the cache, and read by one worker, at a time."""


class HeaderCache(Protocol):
    """Stores records as text by root, path, size and modification time, and one catalogue."""

    def get(self, files: Sequence[ArchiveFile]) -> list[str | None]:
        """For each file: the text stored for it, or None where it is new or has changed."""

    def put(self, headers: Iterable[tuple[ArchiveFile, str]]) -> None:
        """Store the records of files."""

    def recall(self, name: str) -> bytes | None:
        """The catalogue of that name, if it was the last to be remembered."""

    def remember(self, name: str, catalogue: bytes) -> None:
        """Store a catalogue in place of the last one."""


def index(
    roots: Iterable[Path],
    plane: Plane | None = None,
    cache: HeaderCache | None = None,
    progress: Callable[[int], None] | None = None,
    workers: int = 1,
    pseudonyms: Pseudonyms | None = None,
    file_timeout_s: float = FILE_TIMEOUT_S,
    walked: Sequence[Entry] | None = None,
    shard: Shard | None = None,
    bounds: Bounds | None = None,
    stated: Stated = NOTHING,
    judge: Judge | None = None,
) -> Catalogue:
    """Walk archives, read the headers of their files and group them.

    Parameters
    ----------
    roots : iterable of Path
        Folders or files. A root within another is walked only once.
    plane : Plane or None
        Plane to cut volume files in.
    cache : HeaderCache or None
        Files in it are not opened. If no file has changed since it remembered a catalogue, that
        catalogue is returned.
    progress : callable or None
        Called with the number of files so far: after each file, and while one is being read.
    workers : int
        Processes that read headers; at least one does. The catalogue is the same.
    pseudonyms : Pseudonyms or None
        Replaces identities in headers as soon as they are read; None keeps them.
    file_timeout_s : float
        Seconds after which the header of a file is given up.
    walked : sequence of ArchiveFile or Outcome
        Entries of `walk_all`, if the archives were walked already.
    shard : Shard or None
        Shard to return; None: everything. Headers of other shards are read, but not kept.
    bounds : Bounds or None
        Bounds beyond which files and studies are set aside; None: there are none.
    stated : Stated
        What is stated of all images that are not DICOM; of one of them, its own name or a file
        beside it may state something else.
    judge : Judge or None
        Chooses between files of one SOP instance whose content differs: files that state the same
        instance are read whole. None: they are not, and the first is kept.

    Returns
    -------
    Catalogue
    """
    tops = tuple(roots)
    # The voxels of a lone file may lie in another, whose changes no walk of the root notices.
    catalogue_cache = cache if all(map(os.path.isdir, tops)) else None
    with _rare_garbage_collection():
        walked = list(walk_all(tops)) if walked is None else walked
        name = ""
        if catalogue_cache is not None:
            name = _catalogue_name(walked, plane, pseudonyms, shard, bounds, stated)
            unchanged = _recall(walked, name, catalogue_cache)
            if unchanged is not None:
                return unchanged
        records: list[Record] = []
        repeatable = True  # whether the same entries would give the same catalogue again
        count = 0
        progress = progress or (lambda _: None)
        readers = Readers(workers, pseudonyms, file_timeout_s, lambda: progress(count))
        read = _read_all(iter(walked), cache, readers)
        for count, (entry, record) in enumerate(zip(walked, read, strict=True), 1):
            transient = isinstance(entry, ArchiveFile) and _is_transient(record)
            repeatable = repeatable and not transient
            if shard is None or is_needed(shard, record):
                records.append(record)
            progress(count)
        if judge is not None:
            readers = Readers(workers, pseudonyms, file_timeout_s, lambda: progress(count))
            records = _with_contents(records, cache, readers)
        named = pseudonyms.digest if pseudonyms else str
        catalogue = group(records, plane, named, bounds, stated, judge)
        if shard is not None:
            catalogue = restrict_to_shard(catalogue, shard)
        given = {entry.file for entry in walked if isinstance(entry, Outcome)}
        chance = any(_is_transient(o) and o.file not in given for o in catalogue.set_aside)
        if catalogue_cache is not None and repeatable and not chance:
            _remember(catalogue, walked, name, catalogue_cache)
        return catalogue


def _catalogue_name(
    walked: Sequence[Entry],
    plane: Plane | None,
    pseudonyms: Pseudonyms | None,
    shard: Shard | None,
    bounds: Bounds | None,
    stated: Stated,
) -> str:
    rule = f"{pseudonyms.rule} {pseudonyms.hash_paths}" if pseudonyms else ""
    return digest_of(walked, plane, f"{rule} {shard or ''} {bounds or ''} {stated}")


def _recall(walked: Sequence[Entry], name: str, cache: HeaderCache) -> Catalogue | None:
    """The catalogue of exactly these entries, if the cache has it."""
    data = cache.recall(name)
    return from_bytes(data, walked) if data else None


def _remember(catalogue: Catalogue, walked: Sequence[Entry], name: str, cache: HeaderCache) -> None:
    data = to_bytes(catalogue, walked)
    if data is not None:
        cache.remember(name, data)


@contextmanager
def _rare_garbage_collection() -> Iterator[None]:
    """Collect garbage rarely: searching millions of objects that stay takes longer than reading."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _read_all(
    entries: Iterator[Entry], cache: HeaderCache | None, readers: Readers
) -> Iterator[Record]:
    """Records of entries, in their order; workers read some chunks ahead."""
    waiting: deque[_Chunk] = deque()
    with readers:
        while chunk := list(islice(entries, CHUNK)):
            waiting.append(_Chunk(chunk, cache, readers))
            if waiting[0].job.done or len(waiting) > 4 * readers.most:
                yield from waiting.popleft().finish()
        for left in waiting:
            yield from left.finish()


def _with_contents(
    records: list[Record], cache: HeaderCache | None, readers: Readers
) -> list[Record]:
    """Records with the contents of files that only these tell apart, read now or remembered."""
    files = iter(to_compare(records))
    read: dict[ArchiveFile, Record] = {}
    with readers:
        while chunk := list(islice(files, CHUNK)):
            found = readers.result(readers.submit(chunk, whole=True))
            read |= {r.file: r for r, _ in found}
            if cache is not None:
                cache.put((r.file, text) for r, text in found if _is_cacheable(r))
    return [read.get(record.file, record) for record in records]


class _Chunk:
    """Entries of a walk: records from the cache, and files that a job reads."""

    def __init__(
        self, entries: Sequence[Entry], cache: HeaderCache | None, readers: Readers
    ) -> None:
        self.cache, self.readers = cache, readers
        self.items = _looked_up(entries, cache)
        self.job = readers.submit([item for item in self.items if isinstance(item, ArchiveFile)])

    def finish(self) -> list[Record]:
        """Records of all entries, in their order."""
        read = self.readers.result(self.job)
        if self.cache is not None:
            self.cache.put((r.file, text) for r, text in read if _is_cacheable(r))
        new = iter(read)
        return [next(new).record if isinstance(i, ArchiveFile) else i for i in self.items]


def _looked_up(entries: Sequence[Entry], cache: HeaderCache | None) -> list[ArchiveFile | Record]:
    """The entries, with cached records in place of their files."""
    if cache is None:
        return list(entries)
    texts = iter(cache.get([entry for entry in entries if isinstance(entry, ArchiveFile)]))
    return [_cached(e, next(texts)) if isinstance(e, ArchiveFile) else e for e in entries]


def _cached(file: ArchiveFile, text: str | None) -> ArchiveFile | Record:
    record = from_json(file, json.loads(text)) if text else None
    return file if record is None else record


def _is_cacheable(record: Record) -> bool:
    """Whether the record depends on its file alone, and would be the same the next time."""
    paired = isinstance(record, Header) and record.volume is not None and record.volume.companion
    return not _is_transient(record) and not paired


def _is_transient(record: Record) -> bool:
    return isinstance(record, Outcome) and record.reason in TRANSIENT_REASONS


def walk_all(roots: Iterable[Path]) -> Iterator[Entry]:
    """Walk archives; a root within another is walked only once."""
    tops = sorted({root.resolve() for root in roots})
    for top in tops:
        if not any(top != other and top.is_relative_to(other) for other in tops):
            yield from walk(top)
