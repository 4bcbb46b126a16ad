"""Labels of a table and the studies of an archive -> bags: stacks that share a label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from medscan.archive import Catalogue, Series, Stack, Study, bids_name, names_nobody
from medscan.bags.labels import NAMES, Labels, StudyLabel
from medscan.errors import UsageError
from medscan.text import is_uid

NAMED = 3
"""Lines that a count names at most."""


@dataclass(frozen=True, slots=True)
class Place:
    """A stack of a bag.

    Parameters
    ----------
    study : Study
    series : Series
    stack : Stack
    """

    study: Study
    series: Series
    stack: Stack


@dataclass(frozen=True, slots=True)
class Bag:
    """What a row labels as a whole: somewhere in it is a lesion, or nowhere.

    Parameters
    ----------
    row : StudyLabel
        The row, or of several rows the first.
    label : int
        1 abnormal.
    patient : str
        Number of the patient; equal in all bags of a patient.
    places : tuple of Place
        The stacks of its studies and series.
    slices : dict
        Label by number, from 1, of slices that rows name; the others of an abnormal bag are then
        left out.
    """

    row: StudyLabel
    label: int
    patient: str
    places: tuple[Place, ...]
    slices: Mapping[int, int]

    @property
    def key(self) -> str:
        """Name that tells nobody who it is: that of its first study, and of its first stack."""
        return f"{self.places[0].study.key}/{self.places[0].stack.key}"


@dataclass(frozen=True, slots=True)
class Matched:
    """The bags of an archive, and the lines of rows that name nothing in it."""

    bags: list[Bag]
    unmatched: list[int]

    def notes(self) -> list[str]:
        """What was left out, as phrases."""
        if not self.unmatched:
            return []
        lines = ", ".join(map(str, self.unmatched[:NAMED]))
        more = ", ..." if len(self.unmatched) > NAMED else ""
        return [
            f"{len(self.unmatched)} rows that match nothing in the archive (lines {lines}{more})"
        ]


def match(labels: Labels, catalogue: Catalogue) -> Matched:
    """Find the studies that rows name.

    Raises
    ------
    UsageError
        If no row matches, rows contradict each other, or a patient is in both splits.
    """
    index = _Index(catalogue.studies, [*labels.train, *labels.withheld])
    found = [(row, index.find(row)) for row in labels.train]
    unmatched = [row.line for row, studies in found if not studies]
    found = [(row, studies) for row, studies in found if studies]
    if not found:
        lines = ", ".join(map(str, unmatched[:NAMED]))
        raise UsageError(
            f"none of the {len(unmatched)} rows of {labels.path} matches a study of the archive "
            f"(lines {lines}{', ...' * (len(unmatched) > NAMED)}): check --archive and how the "
            "table names studies"
        )
    _check_labels(labels.path, found)
    withheld = [(row, index.find(row)) for row in labels.withheld]
    patients = _patients(labels.path, [*found, *withheld])
    both = {patients[s.key] for _, ss in found for s in ss} & {
        patients[s.key] for _, ss in withheld for s in ss
    }
    if both:
        raise UsageError(
            f"{labels.path}: {len(both)} patients are in both splits; give all studies of a "
            "patient the same split"
        )
    return Matched(list(_bags(found, patients)), unmatched)


# --- finding studies ------------------------------------------------------------------------------


class _Index:
    """Studies by what rows name them by."""

    def __init__(self, studies: Sequence[Study], rows: Sequence[StudyLabel]) -> None:
        self.known: dict[str, defaultdict[str, list[Study]]] = {
            name: defaultdict(list) for name in NAMES
        }
        self.paths = {_path(row.names["path"]) for row in rows if "path" in row.names}
        self.subjects = any("subject" in row.names for row in rows)
        for study in studies:
            for name, value in self._names(study):
                entries = self.known[name][value]
                if not entries or entries[-1] is not study:
                    entries.append(study)

    def _names(self, study: Study) -> Iterator[tuple[str, str]]:
        yield "study", study.key
        if study.uid:
            yield "study", study.uid
        if study.accession_number.strip():
            yield "accession", study.accession_number.strip()
        for file in study.files() if self.paths or self.subjects else ():
            yield from (("path", path) for path in _spellings(file.root, file.path, self.paths))
            if self.subjects and (name := bids_name(file.full.as_posix())) is not None:
                yield "subject", name.subject
                yield "subject", f"{name.subject}/{name.session}"

    def find(self, row: StudyLabel) -> list[Study]:
        """Studies of a row: those that the first column finds which finds any."""
        for name in NAMES:
            value = row.names.get(name, "")
            if name == "subject":
                value = _subject(value, row.names.get("session", ""))
            elif name == "path":
                value = _path(value)
            studies = self.known[name].get(value, []) if value else []
            if studies := [
                s for s in studies if any(_is_meant(row, series) for series in s.series)
            ]:
                return studies
        return []


def _spellings(root: Path, path: str, wanted: set[str]) -> Iterator[str]:
    """Wanted paths that lead to a file: its own and its folders', absolute or below the root."""
    for part in (path, *map(str, PurePosixPath(path).parents)):
        yield from (text for text in (part, (root / part).as_posix()) if text in wanted)


def _path(text: str) -> str:
    return PurePosixPath(text).as_posix() if text else ""


def _subject(subject: str, session: str) -> str:
    """`sub-01/ses-2` of `01` and `2`."""
    if not subject:
        return ""
    whole = "sub-" + subject.removeprefix("sub-")
    return f"{whole}/ses-{session.removeprefix('ses-')}" if session else whole


def _is_meant(row: StudyLabel, series: Series) -> bool:
    return row.series in ("", series.uid, str(series.number))


_Part = tuple[str, frozenset[int]]
"""Key of a study, and places in it of some of its series, or all."""


def _meant(row: StudyLabel, study: Study) -> frozenset[int]:
    """Places in a study of the series that a row means, by whatever it names them."""
    return frozenset(n for n, series in enumerate(study.series) if _is_meant(row, series))


# --- checks ---------------------------------------------------------------------------------------

_Found = Sequence[tuple[StudyLabel, list[Study]]]


def _check_labels(path: Path, found: _Found) -> None:
    """Refuse two labels of one part, and an abnormal part of something that is normal."""
    seen: defaultdict[str, dict[tuple[frozenset[int], int], StudyLabel]] = defaultdict(dict)
    names = {s.key: s for _, studies in found for s in studies}
    for row, studies in found:
        for study in studies:
            first = seen[study.key].setdefault((_meant(row, study), row.slice), row)
            _check_pair(path, study, first, row)
    for key, parts in seen.items():
        wholes = [(series, row) for (series, number), row in parts.items() if not number]
        for (series, _), row in parts.items():
            for every, whole in wholes:
                if series <= every and row.label > whole.label:
                    pair = sorted((row, whole), key=lambda one: one.line)
                    _check_pair(path, names[key], *pair)


def _check_pair(path: Path, study: Study, first: StudyLabel, second: StudyLabel) -> None:
    if first.label != second.label:
        words = ["abnormal" if row.label else "normal" for row in (first, second)]
        raise UsageError(
            f"{path} lines {first.line} and {second.line}: study {_shown(study)} is labelled "
            f"{words[0]} and {words[1]}; correct one of them"
        )


def _shown(study: Study) -> str:
    return study.uid if is_uid(study.uid) else study.key


def _patients(path: Path, found: _Found) -> dict[str, str]:
    """Number of the patient by study: of one PatientID, or of one name in the table.

    Raises
    ------
    UsageError
        If the table says two patients where the files say one.
    """
    same = _Same()
    listed: dict[str, StudyLabel] = {}
    for row, studies in found:
        for study in studies:
            identity = "" if names_nobody(study.patient_id) else study.patient_id.strip()
            same.join(f"study {study.key}", f"study {studies[0].key}")
            if identity:
                same.join(f"study {study.key}", f"id {identity}")
            if row.patient:
                same.join(f"study {study.key}", f"listed {row.patient}")
            first = listed.setdefault(identity, row) if identity and row.patient else row
            if first.patient != row.patient:
                raise UsageError(
                    f"{path} lines {first.line} and {row.line}: one patient by the PatientID of "
                    "the files, but two by the column patient; correct it"
                )
    numbers = {name: n for n, name in enumerate(sorted(same.roots()), 1)}
    keys = {s.key for _, studies in found for s in studies}
    return {key: f"patient {numbers[same.root(f'study {key}')]}" for key in keys}


class _Same:
    """Names that are one, also in a row."""

    def __init__(self) -> None:
        self.above: dict[str, str] = {}

    def root(self, name: str) -> str:
        """The name that stands for all that are one with it."""
        self.above.setdefault(name, name)
        while self.above[name] != name:
            self.above[name] = self.above[self.above[name]]
            name = self.above[name]
        return name

    def join(self, one: str, other: str) -> None:
        """Say that two names are one."""
        low, high = sorted((self.root(one), self.root(other)))
        self.above[high] = low

    def roots(self) -> set[str]:
        """One name of each group."""
        return {self.root(name) for name in list(self.above)}


# --- bags -----------------------------------------------------------------------------------------


def _bags(found: _Found, patients: Mapping[str, str]) -> Iterator[Bag]:
    """A bag for the studies of each row, or for the series that it names."""
    owners: dict[_Part, int] = {}
    rows: defaultdict[int, list[StudyLabel]] = defaultdict(list)
    named: defaultdict[int, dict[_Part, Study]] = defaultdict(dict)
    for row, studies in found:
        parts = {(study.key, _meant(row, study)): study for study in studies}
        owner = min((owners[part] for part in parts if part in owners), default=row.line)
        for part in parts:
            owners.setdefault(part, owner)
        rows[owner].append(row)
        named[owner] |= parts
    for owner, group in rows.items():
        owned = {part: s for part, s in named[owner].items() if owners[part] == owner}
        if owned:
            label = max(row.label for row in group)
            slices = {row.slice: row.label for row in group if row.slice}
            patient = patients[next(iter(owned.values())).key]
            yield Bag(group[0], label, patient, tuple(_places(owned)), slices)


def _places(parts: Mapping[_Part, Study]) -> Iterator[Place]:
    for (_, meant), study in parts.items():
        for series in (study.series[n] for n in sorted(meant)):
            yield from (Place(study, series, stack) for stack in series.stacks)


def restricted(bags: Iterable[Bag], fits: Callable[[Bag], Sequence[Place]]) -> list[Bag]:
    """Bags with only some of their stacks; those that keep none are left out."""
    chosen = [replace(bag, places=tuple(fits(bag))) for bag in bags]
    return [bag for bag in chosen if bag.places]
