"""Whose image a labelled file is: its header, its BIDS name, a table or its name says so."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medscan import reading
from medscan.archive import ArchiveFile, Header, Kind, bids_name, identity_of
from medscan.errors import UsageError
from medscan.shots.sources import DicomSources, dicom_sources, stem
from medscan.text import printable

if TYPE_CHECKING:
    from medscan.shots.data import Item

log = logging.getLogger("medscan.fit")

COLUMN = "column:"
"""Start of the identities that a table states."""
_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
LABELS = ("normal", "abnormal")
"""Words for labels, and names of their folders."""
_START = 4096
"""Bytes by which most files of one size differ."""


def identified(data: Path, splits: Mapping[str, list[Item]]) -> dict[str, list[Item]]:
    """Give every item of the splits of a data set its patient, and what of its series it holds.

    A patient is known by the PatientID of a DICOM file, or else its study; by the subject of a BIDS
    name; by the column `patient`; or else by the file's name. What comes later may say that several
    patients of what comes before are one person, but not that one is several.

    Raises
    ------
    UsageError
        If files of one patient are listed as of several, or one image has both labels.
    """
    items = [item for split in splits.values() for item in split]
    files = dicom_sources([item.path for item in items])
    top = data if data.is_dir() else data.parent
    stated = {item.path: _stated(item, files, top) for item in items}
    listed = _listed(data, items, stated, files)
    alone = {name for name in stated.values() if name.startswith("id:study ")} - listed.keys()
    if len(alone) > 1:
        log.warning(
            "%s: %d studies have no PatientID of their own, and each counts as of another patient; "
            "if that is not so, name their patients in the column patient",
            data,
            len(alone),
        )
    numbers = {name: n for n, name in enumerate(sorted(set(stated.values()) - {""}), 1)}

    def known(item: Item) -> Item:
        name, own = stated[item.path], listed.get(stated[item.path], item.patient)
        identities = tuple(filter(None, (name, f"{COLUMN}{own}" if own else "")))
        shown = _shown(name, numbers) if name else patient_of(item.path)
        sources = files[item.path].sources if item.path in files else ()
        return replace(item, patient=own or shown, identities=identities, top=top, sources=sources)

    for split in splits.values():
        _check_copies(data, split)
    return {
        name: [known(item) for item in _once(data, split, files)] for name, split in splits.items()
    }


def _stated(item: Item, files: Mapping[Path, DicomSources], top: Path) -> str:
    """The patient that a file itself states, not to be shown; empty if it does not."""
    if item.path in files:
        return files[item.path].identity
    subject = subject_of(item.path)
    if not subject:
        return ""
    # The same label in two data sets means two people.
    name = bids_name(item.path.as_posix())
    folder = next((p for p in item.path.parents if p.name == subject), item.path)
    data_set = Path(name.data_set) if name else folder.parent if folder != item.path else top
    return f"bids:{data_set.resolve().name}/{subject}"


def stated_by(file: ArchiveFile) -> tuple[str, ...]:
    """The patient that a DICOM file in an archive states, not to be shown; nothing for others."""
    header = reading.read_header(file)
    if not isinstance(header, Header) or header.kind is not Kind.DICOM:
        return ()
    return (identity_of(header.patient_id, header.study_uid),)


def _shown(stated: str, numbers: Mapping[str, int]) -> str:
    """The name of a patient that may be shown."""
    kind, _, name = stated.partition(":")
    alike = sum(other.endswith(f"/{name.rpartition('/')[2]}") for other in numbers)
    if kind == "bids":
        return name if alike > 1 else name.rpartition("/")[2]
    return f"patient {numbers[stated]} of the DICOM files"


def _listed(
    data: Path,
    items: Iterable[Item],
    stated: Mapping[Path, str],
    files: Mapping[Path, DicomSources],
) -> dict[str, str]:
    """The patient that a table names, or a folder of DICOM files, by the one that files state."""
    first: dict[str, tuple[Item, str]] = {}
    for item in items:
        name = stated[item.path]
        listed = item.patient or (subject_of(item.path) if item.path in files else "")
        if not name or not listed:
            continue
        other, before = first.setdefault(name, (item, listed))
        if listed != before:
            why = "their PatientID" if name.startswith("id:") else name.rpartition("/")[2]
            one, two = printable(before, 80), printable(listed, 80)
            raise UsageError(
                f"{data}: {other.name} is said to be of patient {one}, and {item.name} of {two}, "
                f"but by {why} they are of one; correct the column patient, or the files"
            )
    return {name: listed for name, (_, listed) in first.items()}


def _once(data: Path, items: Iterable[Item], files: Mapping[Path, DicomSources]) -> Iterable[Item]:
    """Items without further ones of the same image.

    Raises
    ------
    UsageError
        If one has another label.
    """
    seen: dict[Path, Item] = {}
    for item in sorted(items, key=lambda i: i.name):
        first = seen.setdefault(
            files[item.path].original if item.path in files else item.path, item
        )
        if first.label != item.label:
            raise _contradiction(data, first, item)
        if first is item:
            yield item
        else:
            log.info("%s is %s once more and is not used", item.name, first.name)


def _check_copies(data: Path, items: Iterable[Item]) -> None:
    """Refuse files of one content with both labels; only what is alike so far is read further."""
    groups = [sorted(items, key=lambda i: i.name)]
    for content in (_size, _start, _whole):
        groups = [part for group in groups for part in _divided(group, content)]
    if groups:
        first = groups[0][0]
        raise _contradiction(data, first, next(i for i in groups[0] if i.label != first.label))


def _divided(items: Iterable[Item], content: Callable[[Path], object]) -> Iterable[list[Item]]:
    """Items of equal content that have both labels; what cannot be read is like nothing else."""
    parts: defaultdict[object, list[Item]] = defaultdict(list)
    for item in items:
        with suppress(OSError):
            parts[content(item.path)].append(item)
    return [part for part in parts.values() if len({item.label for item in part}) > 1]


def _size(path: Path) -> object:
    """Bytes of a file; of an empty one, which is no image, its path."""
    return path.stat().st_size or path


def _start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_START)


def _whole(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _contradiction(data: Path, first: Item, second: Item) -> UsageError:
    return UsageError(
        f"{data}: {first.name} and {second.name} are the same image, but one is labelled "
        f"{LABELS[first.label]} and one {LABELS[second.label]}"
    )


def subject_of(path: Path) -> str:
    """Subject in the name of a file or of its folders, such as `sub-01`; empty without."""
    if subject := _SUBJECT.match(stem(path)):
        return subject[0]
    return next((f for f in path.parts[-2::-1] if _SUBJECT.fullmatch(f)), "")


def patient_of(path: Path) -> str:
    """Patient of a file that nothing else names: `00003_60.png` is slice 60 of patient 00003.

    In a BIDS data set it is the subject, such as `sub-01` of `sub-01/ses-2/anat/sub-01_ses-2_T1w`.
    A name that holds no number but the last one, such as `case_12`, is a patient of its own.
    """
    if subject := subject_of(path):
        return subject
    whole = stem(path)
    start = re.sub(r"[_-]\d+$", "", whole)
    return start if re.search(r"\d", start) else whole
