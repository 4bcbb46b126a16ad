"""Files that state the same SOP instance: copies, damaged copies, and others that are none."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from medscan.archive.header import Header, Record, to_json
from medscan.archive.types import ArchiveFile, Outcome, Reason
from medscan.errors import FileError

Judge = Callable[[ArchiveFile], "Decoded | FileError"]
"""Decodes all frames of a file; returns the error of one that cannot be decoded."""
_DIFFERS = "other pixels under one SOP Instance UID than in"
_ANOTHER = "it is another image with the SOP Instance UID of"
_ALIKE = 0.03
"""Largest difference of a part's mean between copies with and without loss, of the range."""
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Decoded:
    """All frames of a file as they are decoded.

    Parameters
    ----------
    digest : str
        SHA-256 of their values and sizes.
    loss : str
        Transfer syntax or colour space that changes values; empty for any other.
    coarse : tuple of float
        Means of parts of some frames, which such a change leaves almost as they are.
    """

    digest: str
    loss: str = ""
    coarse: tuple[float, ...] = ()

    def looks_like(self, other: Decoded) -> bool:
        """Whether the means differ by no more than a part of their range."""
        if len(self.coarse) != len(other.coarse):
            return False
        every = (*self.coarse, *other.coarse)
        bound = _ALIKE * (max(every, default=0.0) - min(every, default=0.0))
        return all(abs(a - b) <= bound for a, b in zip(self.coarse, other.coarse, strict=True))


def content_of(stream: BinaryIO, start: int, alive: Callable[[], object]) -> str:
    """SHA-256 of a file from an offset on; `alive` is called between its pieces."""
    digest = hashlib.sha256()
    stream.seek(start)
    while piece := stream.read(_PIECE):
        digest.update(piece)
        alive()
    return digest.hexdigest()


def to_compare(records: Iterable[Record]) -> list[ArchiveFile]:
    """Files whose content must be known: only that can tell them from another file."""
    groups = _groups(r for r in records if isinstance(r, Header) and r.sop_instance_uid)
    several = [group for group in groups if len(group) > 1]
    return sorted(header.file for group in several for header in group if not header.content)


def set_copies_aside(
    headers: Sequence[Header], judge: Judge | None = None
) -> tuple[list[Header], list[Outcome]]:
    """Keep one file of each SOP instance of a series: the first, by path, that is whole.

    One without loss goes before. The others are copies, damaged copies, or other images under its
    UID. Where headers are equal and only the pixels differ, nothing tells which file is right, and
    all of them fail. A copy that was compressed with loss has other pixels too: it must look alike,
    and its header must say the same of the image. Without a judge, pixels are not compared.

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


def _chosen(
    group: list[Header], judge: Judge | None
) -> tuple[Header | None, dict[ArchiveFile, Outcome]]:
    """The file of a SOP instance to keep, if any, and outcomes of files that are no copies."""
    firsts = {header.content: header for header in reversed(group)}
    if len(firsts) == 1 or judge is None:
        return group[0], {}
    answers = {content: judge(header.file) for content, header in sorted(firsts.items())}
    whole = {h.file: answer for h in group if isinstance(answer := answers[h.content], Decoded)}
    chosen = min(
        (header for header in group if header.file in whole),
        key=lambda header: bool(whole[header.file].loss),
        default=group[0],
    )
    outcomes: dict[ArchiveFile, Outcome] = {}
    copies: dict[str, Header] = {}
    rival: Header | None = None
    for header in (chosen, *(header for header in group if header is not chosen)):
        answer = answers[header.content]
        if isinstance(answer, FileError):
            detail = f"{answer}: a damaged copy of"
            outcomes[header.file] = _outcome(header, Reason(answer.reason), detail, chosen)
            continue
        like = copies.get(answer.loss, chosen)
        if _is_copy(chosen, header, whole) and _is_copy(like, header, whole):
            copies.setdefault(answer.loss, header)
            continue
        alike = like is chosen and _without_content(header) == _without_content(chosen)
        rival = rival or (header if alike else None)
        detail = _DIFFERS if alike else _ANOTHER
        outcomes[header.file] = _outcome(header, Reason.CORRUPT, detail, chosen)
    if rival is None:
        outcomes.pop(chosen.file, None)  # if none is whole, it fails when it is drawn
        return chosen, outcomes
    for header in group:
        if header.file not in outcomes:
            outcomes[header.file] = _outcome(header, Reason.CORRUPT, _DIFFERS, rival)
    return None, outcomes


def _is_copy(one: Header, other: Header, whole: Mapping[ArchiveFile, Decoded]) -> bool:
    """Whether two files that can be decoded show the same image."""
    pixels, others = whole[one.file], whole[other.file]
    if pixels.digest == others.digest or pixels.loss == others.loss:
        return pixels.digest == others.digest
    return _shown(one) == _shown(other) and pixels.looks_like(others)


def _copy(original: Header, header: Header) -> Outcome:
    """Outcome of a file that states the SOP instance of another."""
    if _matrices(original) == _matrices(header) and _place(original) != _place(header):
        return _outcome(header, Reason.CORRUPT, _ANOTHER, original)
    same = original.file.size == header.file.size and to_json(original) == to_json(header)
    detail = "of" if same else "conflicting with"
    return _outcome(header, Reason.DUPLICATE, detail, original)


def _outcome(header: Header, reason: Reason, detail: str, other: Header) -> Outcome:
    uids = header.study_uid, header.series_uid
    return Outcome(header.file, reason, detail, *uids, other.file.path)


def _without_content(header: Header) -> object:
    return to_json(replace(header, content=""))


def _matrices(header: Header) -> list[tuple[int, int]]:
    return [(layer.rows, layer.columns) for layer in header.layers]


def _place(header: Header) -> tuple[object, ...]:
    """What tells one slice of a series from another."""
    layers = [
        (y.position, y.orientation, y.depth_mm, y.phase, y.dimensions, y.echo_ms)
        for y in header.layers
    ]
    return header.instance_number, layers


def _shown(header: Header) -> tuple[object, ...]:
    """What tells one image from another, however its pixels were compressed."""
    person = header.patient_id, header.person, header.date
    return header.frames, _matrices(header), _place(header), header.view, person
