"""Survey an archive in four steps: walk, index, hold back arriving studies, plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from medscan import archive
from medscan.archive import ArchiveFile, Catalogue, Outcome, Pseudonyms
from medscan.decoding import judge
from medscan.options import Inputs, Outputs, Privacy
from medscan.planning.ledger import Ledger
from medscan.planning.plan import FindWork, by_content, by_time, make_plan
from medscan.planning.settle import hold_back_arriving, hold_back_unlisted
from medscan.planning.task import Task
from medscan.routing import PATTERN

Walked = ArchiveFile | Outcome
"""A file, or the outcome of one that cannot be read at all."""
Progress = Callable[[int], None]
"""Called with the number of files seen so far."""


def scan_pseudonyms(inputs: Inputs, privacy: Privacy, key: bytes) -> Pseudonyms:
    """Return the pseudonyms of a scan; words that route stacks to detectors stay readable."""
    domains = [detector.domain for _, detector in inputs.detectors]
    words = {word.upper() for d in domains for word in (d.modality, d.body_part, d.sequence)}
    return Pseudonyms(
        key, tuple(sorted(words - {""})), PATTERN, privacy.identify, privacy.hashes_paths
    )


@dataclass(frozen=True, slots=True)
class Walk:
    """The files below the archive roots, without those that the scan itself writes.

    Parameters
    ----------
    files : list of ArchiveFile or Outcome
    begun_ns : int
        When the walk began, nanoseconds since the epoch; the age of files counts from here.
    """

    files: list[Walked]
    begun_ns: int

    def digest(self, inputs: Inputs, pseudonyms: Pseudonyms) -> str:
        """Return a hash of all names, sizes and times, and of what decides how they are read."""
        name = archive.digest_of(self.files, inputs.cut_plane, pseudonyms.rule)
        return pseudonyms.digest(name, 64)


def walk(
    inputs: Inputs, outputs: Outputs | None = None, progress: Progress = lambda _: None
) -> Walk:
    """Find every file of the archives except the outputs."""
    begun_ns = time.time_ns()
    walked = _counted(archive.walk_all(inputs.roots), progress)
    if outputs is None or not _lie_below(outputs, inputs):
        return Walk(list(walked), begun_ns)
    is_own = outputs.own_path_test()
    return Walk([item for item in walked if not is_own(file_of(item).full)], begun_ns)


def _lie_below(outputs: Outputs, inputs: Inputs) -> bool:
    """Whether any output is written into an archive."""
    roots = [root.resolve() for root in inputs.roots]
    folders = {folder.resolve() for path in outputs.files for folder in path.resolve().parents}
    return not folders.isdisjoint(roots)


def _counted(walked: Iterable[Walked], progress: Progress) -> Iterable[Walked]:
    """Pass files on, and report progress at every 256th."""
    for count, item in enumerate(walked):
        if not count % 256:
            progress(count)
        yield item


def file_of(item: Walked) -> ArchiveFile:
    """Return the file of a walked item."""
    return item.file if isinstance(item, Outcome) else item


@dataclass(frozen=True, slots=True)
class Survey:
    """The contents of the archives, and a task for each study.

    Parameters
    ----------
    catalogue : Catalogue
        Studies that can be scanned; all other files are set aside in it.
    plan : list of Task
        Sorted by study key.
    arriving : int
        Number of studies left for the next scan: modified too recently, or in a folder that could
        not be listed.
    """

    catalogue: Catalogue
    plan: list[Task]
    arriving: int


def survey_archive(
    inputs: Inputs,
    pseudonyms: Pseudonyms,
    identity: str,
    *,
    walked: Walk | None = None,
    cache: Ledger | None = None,
    find_work: FindWork = lambda _: None,
    workers: int = 1,
    progress: Progress = lambda _: None,
) -> Survey:
    """Index the archives and plan their studies; used by scan, dry run, plan and verify.

    An error raised by `progress` ends the survey; headers read until then stay in the cache.

    Parameters
    ----------
    inputs : Inputs
    pseudonyms : Pseudonyms
    identity : str
        See `ScanOptions.identity`.
    walked : Walk, optional
        A finished walk; None: walk the archives first.
    cache : Ledger, optional
        Cache of headers.
    find_work : callable
        Looks up earlier results; see `FindWork`.
    workers : int
        Processes that read headers.
    progress : callable
    """
    walked = walked or walk(inputs)
    catalogue = _index(inputs, walked, pseudonyms, cache, workers, progress)
    catalogue, young = hold_back_arriving(catalogue, inputs.settle_s, walked.begun_ns)
    catalogue, unlisted = hold_back_unlisted(catalogue, walked.files, find_work, pseudonyms)
    plan = make_plan(
        catalogue,
        [detector for _, detector in inputs.detectors],
        find_work,
        named=inputs.named,
        identity=identity,
        pseudonyms=pseudonyms,
        fingerprint=by_content if inputs.paranoid else by_time,
        drop=inputs.dropped_detectors,
        left_out=inputs.left_out,
    )
    return Survey(catalogue, plan, young + unlisted)


def _index(
    inputs: Inputs,
    walked: Walk,
    pseudonyms: Pseudonyms,
    cache: Ledger | None,
    workers: int,
    progress: Progress,
) -> Catalogue:
    try:
        return archive.index(
            inputs.roots,
            plane=inputs.cut_plane,
            cache=LedgerHeaderCache(cache, pseudonyms) if cache else None,
            progress=progress,
            workers=workers,
            pseudonyms=pseudonyms,
            file_timeout_s=inputs.file_timeout_s,
            walked=walked.files,
            shard=inputs.shard,
            bounds=inputs.bounds,
            stated=inputs.stated,
            judge=lambda file: judge(
                file, inputs.max_file_bytes, inputs.file_timeout_s, lambda: progress(0)
            ),
        )
    finally:
        if cache is not None:
            cache.commit()


class LedgerHeaderCache:
    """The ledger as a cache of headers, kept under pseudonyms.

    Each header starts with the pseudonyms' rule: one written under another rule is not used.
    """

    def __init__(self, ledger: Ledger, pseudonyms: Pseudonyms) -> None:
        self.ledger, self.pseudonyms, self.rule = ledger, pseudonyms, pseudonyms.rule

    def get(self, files: Sequence[ArchiveFile]) -> list[str | None]:
        """Return headers of files as text; None for those not cached, or under another rule."""
        texts = self.ledger.get([self.pseudonyms.file(file) for file in files])
        return [t.removeprefix(self.rule) if t and t.startswith(self.rule) else None for t in texts]

    def put(self, headers: Iterable[tuple[ArchiveFile, str]]) -> None:
        """Cache headers."""
        rows = ((self.pseudonyms.file(file), f"{self.rule}{text}") for file, text in headers)
        self.ledger.put(rows)

    def recall(self, name: str) -> bytes | None:
        """Return the catalogue cached under a name."""
        return self.ledger.recall(self._keyed(name))

    def remember(self, name: str, catalogue: bytes) -> None:
        """Cache a catalogue under a name."""
        self.ledger.remember(self._keyed(name), catalogue)

    def _keyed(self, name: str) -> str:
        """Hash a name with the secret key: the ledger alone must not reveal the paths."""
        return self.pseudonyms.digest(name, 64)
