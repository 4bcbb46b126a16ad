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

from medscan.archive.grouping import group
from medscan.archive.header import Header, from_json, to_json
from medscan.archive.pseudonyms import Pseudonyms
from medscan.archive.readers import Job, Readers
from medscan.archive.shard import is_needed, part_of
from medscan.archive.snapshot import digest_of, from_bytes, to_bytes
from medscan.archive.types import ArchiveFile, Catalogue, Outcome, Reason
from medscan.archive.walk import walk
from medscan.choices import FILE_TIMEOUT_S, Plane, Shard

CHUNK = 128
"""Files that are looked up, and read by one worker, at a time."""
_PASSING = (Reason.UNREADABLE, Reason.DECODER_DIED)


class HeaderCache(Protocol):
    """Remembers headers, as text, by root, path, size and modification time; and one catalogue."""

    def get(self, files: Sequence[ArchiveFile]) -> list[str | None]:
        """What was put for these very files, or None, for each."""

    def put(self, headers: Iterable[tuple[ArchiveFile, str]]) -> None:
        """Remember what was read of files."""

    def recall(self, name: str) -> bytes | None:
        """The catalogue of that name, if it is the one that was remembered last."""

    def remember(self, name: str, catalogue: bytes) -> None:
        """Remember a catalogue in place of the last one."""


def index(
    roots: Iterable[Path],
    plane: Plane | None = None,
    cache: HeaderCache | None = None,
    progress: Callable[[int], None] | None = None,
    workers: int = 1,
    pseudonyms: Pseudonyms | None = None,
    file_timeout_s: float = FILE_TIMEOUT_S,
    walked: Sequence[ArchiveFile | Outcome] | None = None,
    shard: Shard | None = None,
) -> Catalogue:
    """Find out what archives hold.

    Parameters
    ----------
    roots : iterable of Path
        Folders or files. One that lies within another is walked with it, once.
    plane : Plane or None
        To cut volume files in.
    cache : HeaderCache or None
        Files that it knows are not opened; where none has changed since the catalogue that it
        remembers, that is taken.
    progress : callable or None
        Called with the number of files so far, after each that is looked at.
    workers : int
        Processes that read headers; 1 reads here. The catalogue does not depend on it.
    pseudonyms : Pseudonyms or None
        What replaces identities in headers as soon as they are read; None: nothing.
    file_timeout_s : float
        Seconds after which the header of a file is given up.
    walked : sequence of ArchiveFile or Outcome
        What `walk_all` found, where that is known already.
    shard : Shard or None
        The share to find; None: everything. Headers of other shares are read, but not kept.

    Returns
    -------
    Catalogue
    """
    tops = tuple(roots)
    # A lone file may have its voxels in another, which no walk finds.
    shelf = cache if all(map(os.path.isdir, tops)) else None
    with _rare_collections():
        walked = list(walk_all(tops)) if walked is None else walked
        rule = f"{pseudonyms.rule} {pseudonyms.hash_paths}" if pseudonyms else ""
        name = "" if shelf is None else digest_of(walked, plane, f"{rule} {shard or ''}".rstrip())
        known = _unchanged(walked, name, shelf)
        if known is not None:
            return known
        found: list[Header | Outcome] = []
        lasts = True
        read = _read_all(iter(walked), cache, Readers(workers, pseudonyms, file_timeout_s))
        for count, (file, item) in enumerate(zip(walked, read, strict=True), 1):
            lasts = lasts and not _passes(file, item)
            if shard is None or is_needed(shard, item):
                found.append(item)
            if progress is not None:
                progress(count)
        catalogue = group(found, plane, pseudonyms.digest if pseudonyms else str)
        if shard is not None:
            catalogue = part_of(shard, catalogue)
        if shelf is not None and lasts:
            _remember(catalogue, walked, name, shelf)
        return catalogue


def _unchanged(
    walked: Sequence[ArchiveFile | Outcome], name: str, cache: HeaderCache | None
) -> Catalogue | None:
    """The catalogue of the very files that were walked, if the cache has it."""
    known = cache.recall(name) if cache is not None else None
    return from_bytes(known, walked) if known else None


def _remember(
    catalogue: Catalogue, walked: Sequence[ArchiveFile | Outcome], name: str, cache: HeaderCache
) -> None:
    told = to_bytes(catalogue, walked)
    if told is not None:
        cache.remember(name, told)


def _passes(walked: ArchiveFile | Outcome, found: Header | Outcome) -> bool:
    """Whether reading may end otherwise the next time, though the walk finds the same."""
    return isinstance(walked, ArchiveFile) and not _stays(found)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Millions of objects are made here to stay: looking for garbage among them takes longer."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _read_all(
    items: Iterator[ArchiveFile | Outcome], cache: HeaderCache | None, readers: Readers
) -> Iterator[Header | Outcome]:
    """What was found, in its order; chunks are read ahead of it."""
    waiting: deque[_Chunk] = deque()
    with readers:
        while chunk := list(islice(items, CHUNK)):
            waiting.append(_Chunk(chunk, cache, readers))
            if waiting[0].job is None or len(waiting) > 4 * readers.workers:
                yield from waiting.popleft().finish()
        for left in waiting:
            yield from left.finish()


class _Chunk:
    """Some of what was found: looked up in the cache, and what that does not know, read."""

    def __init__(
        self, items: Sequence[ArchiveFile | Outcome], cache: HeaderCache | None, readers: Readers
    ) -> None:
        self.cache, self.readers = cache, readers
        self.found = _known(items, cache)
        self.unread = [item for item in self.found if isinstance(item, ArchiveFile)]
        self.job: Job = readers.submit(self.unread)

    def finish(self) -> list[Header | Outcome]:
        """Every item in its place."""
        read = self.readers.result(self.unread, self.job)
        if self.cache is not None:
            self.cache.put((f.file, text or _text(f)) for f, text in read if _lasts(f))
        rest = iter(read)
        return [next(rest)[0] if isinstance(f, ArchiveFile) else f for f in self.found]


def _known(
    items: Sequence[ArchiveFile | Outcome], cache: HeaderCache | None
) -> list[ArchiveFile | Header | Outcome]:
    """What was found, with what the cache knows in place of files."""
    if cache is None:
        return list(items)
    texts = iter(cache.get([item for item in items if isinstance(item, ArchiveFile)]))
    return [_recalled(f, next(texts)) if isinstance(f, ArchiveFile) else f for f in items]


def _recalled(file: ArchiveFile, text: str | None) -> ArchiveFile | Header | Outcome:
    header = from_json(file, json.loads(text)) if text else None
    return file if header is None else header


def _text(found: Header | Outcome) -> str:
    return json.dumps(to_json(found))


def _lasts(found: Header | Outcome) -> bool:
    """Whether it would come out the same the next time, and names no other file."""
    paired = isinstance(found, Header) and found.volume is not None and found.volume.companion
    return _stays(found) and not paired


def _stays(found: Header | Outcome) -> bool:
    return not isinstance(found, Outcome) or found.reason not in _PASSING


def walk_all(roots: Iterable[Path]) -> Iterator[ArchiveFile | Outcome]:
    """Walk archives, one that lies within another once."""
    tops = sorted({root.resolve() for root in roots})
    for top in tops:
        if not any(top != other and top.is_relative_to(other) for other in tops):
            yield from walk(top)
