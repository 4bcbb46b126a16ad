"""What lies beside images says what they show: put it into their headers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from medscan.archive.bids import BODY_PART, BidsName, bids_name
from medscan.archive.facts import DESCRIBING, FILE_NAME, FORMS, Facts, shared
from medscan.archive.header import NOTHING, Header, Record, Sidecar, Stated
from medscan.archive.sidecar import DATA_SET, DOMAIN, PEOPLE
from medscan.archive.types import ArchiveFile, Kind, Outcome, Reason
from medscan.archive.volume import stem

Place = tuple[Path, str]
"""An archive root, and a folder below it; "" is the root itself."""
DERIVATIVES = "derivatives"
"""Folder of a BIDS data set for what was made from its images."""
_SET_ASIDE = "in the derivatives of a BIDS data set"


def join_sidecars(records: Iterable[Record], stated: Stated) -> Iterator[Header | Outcome]:
    """Give headers the facts that other files state of them.

    From the weakest to the strongest: what is stated of the whole archive; `medscan-domain.toml`
    of a folder above, then of the file's own; the file's name; JSON files, by the inheritance
    principle of BIDS from the folder of the data set down to the one of the same name. Headers of
    DICOM files only tell of themselves.

    Parameters
    ----------
    records : iterable of Header, Outcome or Sidecar
    stated : Stated
        What is stated of all images that are not DICOM.

    Yields
    ------
    Header or Outcome
        One for each record; images in the derivatives of a data set are set aside.
    """
    found = list(records)
    beside = _Beside.of(record for record in found if isinstance(record, Sidecar))
    for record in found:
        if isinstance(record, Sidecar):
            yield record.outcome()
        elif isinstance(record, Outcome):
            yield record
        elif beside.is_derived(record):
            uids = record.study_uid, record.series_uid
            yield Outcome(record.file, Reason.DERIVED, _SET_ASIDE, *uids)
        else:
            yield record if record.kind is Kind.DICOM else beside.joined(record, stated)


def describing(file: ArchiveFile) -> Iterator[Path]:
    """Files below the archive root that may say what an image shows, as `join_sidecars` reads them.

    Tables of people are left out, and what makes an image a derivative.
    """
    name, own = bids_name(file.full.as_posix()), f"{stem(file.path)}.json"
    for depth, folder in enumerate(file.full.parents):
        if not folder.is_relative_to(file.root):
            return
        beside = [folder / own] if depth == 0 else []
        if name is not None and depth <= name.depth:
            beside = sorted(folder.glob("*.json"))
        yield from (p for p in (*beside, folder / DOMAIN) if p.is_file() and p.name != DATA_SET)


@dataclass(slots=True)
class _Beside:
    """Sidecars of a walk, by the folder that they lie in."""

    texts: defaultdict[Place, list[_Text]] = field(default_factory=lambda: defaultdict(list))
    domains: dict[Place, Stated] = field(default_factory=dict)
    people: dict[Place, Mapping[str, Facts]] = field(default_factory=dict)
    data_sets: dict[Place, bool] = field(default_factory=dict)
    """Whether each is of derivatives."""

    @classmethod
    def of(cls, sidecars: Iterable[Sidecar]) -> _Beside:
        beside = cls()
        for sidecar in sorted(sidecars, key=lambda s: s.file):
            folder, _, name = sidecar.file.path.rpartition("/")
            place = sidecar.file.root, folder
            if name == DATA_SET:
                beside.data_sets[place] = sidecar.derived
            elif name == PEOPLE:
                beside.people[place] = sidecar.people
            elif name == DOMAIN:
                beside.domains[place] = sidecar.stated
            else:
                beside.texts[place].append(_Text.of(name, sidecar.stated.facts))
        for texts in beside.texts.values():  # what is about fewer images counts more
            texts.sort(key=lambda text: len(text.entities))
        return beside

    def is_derived(self, header: Header) -> bool:
        """Whether an image lies among the derivatives of a data set within the archive.

        Who names a folder of derivatives as the archive wants them scanned.
        """
        root = header.file.root
        if not self.data_sets or DERIVATIVES in root.parts:
            return False
        folders = _folders(header.file.path)
        for folder, below in zip(folders, (*folders[1:], ""), strict=True):
            derived = self.data_sets.get((root, folder))
            inside = below.removeprefix(f"{folder}/") == DERIVATIVES
            if derived is not None and (inside or (derived and folder)):
                return True
        return False

    def joined(self, header: Header, stated: Stated) -> Header:
        """The header with all that is stated of it."""
        root, folders = header.file.root, _folders(header.file.path)
        name = bids_name(header.file.full.as_posix())
        facts = dict(header.facts)
        for text in self._texts(header, folders, name):
            facts |= text.facts
        domains = [stated, *(self.domains.get((root, f), NOTHING) for f in folders)]
        is_described = name is not None or any(k in facts for k in DESCRIBING if k != FILE_NAME)
        for domain in reversed(domains):
            for keyword, value in domain.facts.items():
                if not (is_described and keyword in DESCRIBING):
                    facts.setdefault(keyword, value)
        if name is not None:
            if facts.get("Modality") == "MR":
                facts.setdefault("BodyPartExamined", BODY_PART)
            data_set = folders[max(0, len(folders) - 1 - name.depth)]
            facts |= self.people.get((root, data_set), {}).get(name.subject, {})
        plane = next((d.plane for d in reversed(domains) if d.plane), "")
        in_order = {k: facts[k] for k in (*FORMS, *facts) if k in facts}
        return replace(header, facts=shared(in_order), view=header.view or plane)

    def _texts(self, header: Header, folders: list[str], name: BidsName | None) -> Iterator[_Text]:
        """JSON files about an image, from the least to the most particular."""
        root, own = header.file.root, stem(header.file.path)
        levels = folders[-1:] if name is None else folders[-1 - name.depth :]
        for folder in levels:
            for text in self.texts.get((root, folder), ()):
                if (folder == folders[-1] and text.stem == own) or (name and text.is_about(name)):
                    yield text


@dataclass(frozen=True, slots=True)
class _Text:
    """A JSON file: its name without suffix, the parts of that, and what it states."""

    stem: str
    entities: frozenset[str]
    suffix: str
    facts: Facts

    @classmethod
    def of(cls, name: str, facts: Facts) -> _Text:
        own = name.removesuffix(".json")
        *entities, suffix = own.split("_")
        return cls(own, frozenset(entities), suffix, facts)

    def is_about(self, name: BidsName) -> bool:
        """Whether it is about an image by the inheritance principle."""
        return self.suffix == name.suffix and self.entities <= name.all_entities


def _folders(path: str) -> list[str]:
    """Folders that a file lies in, from the archive root "" to its own."""
    folders = [""]
    for part in path.split("/")[:-1]:
        folders.append(f"{folders[-1]}/{part}" if folders[-1] else part)
    return folders
