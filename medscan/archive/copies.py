"""Files that state the same SOP instance: copies, damaged copies, and others that are none."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import BinaryIO

from medscan.archive.header import Header, Record, to_json
from medscan.archive.types import ArchiveFile, Outcome, Reason
from medscan.errors import FileError

Judge = Callable[[ArchiveFile], FileError | None]
"""Decodes all frames of a file; returns the error of one that cannot be decoded."""
_DIFFERS = "other pixels under one SOP Instance UID than in"
_PIECE = 1 << 20


def content_of(stream: BinaryIO, alive: Callable[[], object]) -> str:
    """SHA-256 of a file; `alive` is called between its pieces."""
    digest = hashlib.sha256()
    stream.seek(0)
    while piece := stream.read(_PIECE):
        digest.update(piece)
        alive()
    return digest.hexdigest()


def to_compare(records: Iterable[Record]) -> list[ArchiveFile]:
    """Files whose content must be known: only that can tell them from another file."""
    groups = _groups(r for r in records if isinstance(r, Header) and r.sop_instance_uid)
    alike = [twins for group in groups for twins in _alike(group) if len(twins) > 1]
    return sorted(header.file for twins in alike for header in twins if not header.content)


def set_copies_aside(
    headers: Sequence[Header], judge: Judge | None = None
) -> tuple[list[Header], list[Outcome]]:
    """Keep one file of each SOP instance of a series: the first, by path, that is whole.

    The others are copies, unless they hold another slice under the UID of the first. Where files
    differ in nothing but their content, those that cannot be decoded are damaged; if several can,
    nothing tells which is right, and all of them fail. Without a judge, content is not compared.

    Returns
    -------
    (list of Header, list of Outcome)
        Headers to keep, and outcomes of all others.
    """
    kept = [header for header in headers if not header.sop_instance_uid]
    others: list[Outcome] = []
    for group in _groups(header for header in headers if header.sop_instance_uid):
        chosen, faults = _chosen(group, judge)
        kept += [chosen] if chosen is not None else []
        left = (header for header in group if header is not chosen)
        others += [faults.get(h.file) or _copy(chosen or group[0], h) for h in left]
    return sorted(kept, key=lambda header: header.file), others


def _groups(headers: Iterable[Header]) -> list[list[Header]]:
    """Headers by SOP instance, in their order."""
    groups: defaultdict[tuple[str, str, str], list[Header]] = defaultdict(list)
    for header in headers:
        groups[header.study_uid, header.series_uid, header.sop_instance_uid].append(header)
    return list(groups.values())


def _alike(group: list[Header]) -> list[list[Header]]:
    """Headers of one SOP instance that are equal, and whose files are as long."""
    if len(group) == 1:
        return [group]
    alike: defaultdict[str, list[Header]] = defaultdict(list)
    for header in group:
        alike[f"{header.file.size} {to_json(replace(header, content=''))}"].append(header)
    return list(alike.values())


def _chosen(
    group: list[Header], judge: Judge | None
) -> tuple[Header | None, dict[ArchiveFile, Outcome]]:
    """The file of a SOP instance to keep, if any, and outcomes of files that are damaged."""
    twins = _alike(group)[0]
    by_content = {header.content: header for header in reversed(twins)}
    if len(by_content) == 1 or judge is None:
        return group[0], {}
    faults = {content: judge(header.file) for content, header in by_content.items()}
    whole = [header for header in twins if faults[header.content] is None]
    chosen = whole[0] if whole else twins[0]
    outcomes = {h.file: _damaged(h, fault, chosen) for h in twins if (fault := faults[h.content])}
    if len({header.content for header in whole}) < 2:
        return chosen, outcomes
    for header in whole:
        other = next(o for o in whole if o.content != header.content)
        outcomes[header.file] = _outcome(header, Reason.CORRUPT, _DIFFERS, other)
    return None, outcomes


def _damaged(header: Header, fault: FileError, chosen: Header) -> Outcome:
    return _outcome(header, Reason(fault.reason), f"{fault}: a damaged copy of", chosen)


def _copy(original: Header, header: Header) -> Outcome:
    """Outcome of a file that states the SOP instance of another."""
    if _matrices(original) == _matrices(header) and _place(original) != _place(header):
        detail = "it is another slice with the SOP Instance UID of"
        return _outcome(header, Reason.CORRUPT, detail, original)
    same = original.file.size == header.file.size and to_json(original) == to_json(header)
    detail = "of" if same else "conflicting with"
    return _outcome(header, Reason.DUPLICATE, detail, original)


def _outcome(header: Header, reason: Reason, detail: str, other: Header) -> Outcome:
    uids = header.study_uid, header.series_uid
    return Outcome(header.file, reason, detail, *uids, other.file.path)


def _matrices(header: Header) -> list[tuple[int, int]]:
    return [(layer.rows, layer.columns) for layer in header.layers]


def _place(header: Header) -> tuple[object, ...]:
    """What tells one slice of a series from another."""
    layers = [
        (y.position, y.orientation, y.depth_mm, y.phase, y.dimensions, y.echo_ms)
        for y in header.layers
    ]
    return header.instance_number, layers
