"""Labelled studies, and what a scan with the detector says of each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medscan import archive
from medscan.archive import Kind, Pseudonyms
from medscan.bags import Bag, StudyOptions, Watcher, match, read_labels, slots_of_bag
from medscan.choices import Plane
from medscan.detector import Detector
from medscan.donors import digests
from medscan.errors import UsageError
from medscan.evaluate import bands, elements_at
from medscan.fitting import fingerprint
from medscan.planning import Task
from medscan.results import Results, StackResult, StudyResult
from medscan.scanning import Assignment, LocalEngine
from medscan.shots import judge_copy

VARIABLES: Mapping[str, str] = {
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    "field strength": "MagneticFieldStrength",
    "kernel": "ConvolutionKernel",
    "sex": "PatientSex",
    "age": "PatientAge",
    "site": "InstitutionName",
}
"""What studies are divided by, and the element of their headers that says it."""
NAMED = 3
"""Studies that a refusal names at most."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A labelled study as the detector saw it.

    Parameters
    ----------
    key : str
        Name of the study in the results, which tells nobody whose it is.
    patient : str
        Number of the patient; equal in all studies of a patient.
    label : int
        1 abnormal.
    score : float
        The highest of the stacks that the row means; NaN if nothing was scored.
    flagged, uncertain : bool
        Whether one of them reaches its threshold; whether none does, but one may not be cleared.
    unlike : bool
        Whether one of them is unlike what the detector was fitted on, flagged or not.
    asked : bool
        Whether a stack was for the detector: if not, the study says nothing about it.
    seconds : float
        Time that scoring took.
    facts : dict
        Value by variable, empty where its header does not say it.
    """

    key: str
    patient: str
    label: int
    score: float
    flagged: bool
    uncertain: bool = False
    unlike: bool = False
    asked: bool = True
    seconds: float = math.nan
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Whether it is not missed, or not flagged for nothing."""
        return self.flagged or self.uncertain if self.label else not self.flagged


def unseen_bags(
    studies: StudyOptions, detector: Detector, watcher: Watcher, key: bytes = b""
) -> tuple[list[Bag], list[str]]:
    """Find the labelled studies, of which the detector must have seen none.

    Parameters
    ----------
    studies : StudyOptions
    detector : Detector
    watcher : Watcher
    key : bytes
        That of the pseudonyms of the scan, which names studies without a UID by their paths.

    Returns
    -------
    (list of Bag, list of str)
        In the order of their keys; and what was left out, as phrases.

    Raises
    ------
    UsageError
        If the table or the archive cannot be used, or the patient of a study gave shots.
    """
    labels = read_labels(studies.labels, studies.normal, studies.abnormal).for_testing()
    plane = Plane(detector.domain.plane) if detector.domain.plane else None
    # Identities stay in this process: the table may name studies and patients by them.
    plain = Pseudonyms(key, identify=True)
    catalogue = archive.index(
        studies.roots, plane=plane, progress=watcher.indexed, pseudonyms=plain, judge=judge_copy
    )
    matched = match(labels, catalogue)
    # That a slice is normal does not say that its study is.
    whole = [bag for bag in matched.bags if bag.label or not bag.slices]
    bags = sorted(whole, key=lambda bag: bag.key)
    _refuse_shots(studies.labels, bags, detector, watcher)
    notes = [*labels.notes(), *matched.notes()]
    if partly := len(matched.bags) - len(whole):
        notes.append(f"{partly} studies of which only normal slices are named")
    return bags, notes


def _refuse_shots(path: Path, bags: Sequence[Bag], detector: Detector, watcher: Watcher) -> None:
    gave = {bag.patient for bag in bags if _gave_shots(bag, detector)}
    seen = [bag for bag in bags if bag.patient in gave]
    if seen:
        lines = ", ".join(str(bag.row.line) for bag in seen[:NAMED])
        more = ", ..." if len(seen) > NAMED else ""
        raise UsageError(
            f"{path}: {len(seen)} studies are of patients whom {detector.name} was fitted on "
            f"(lines {lines}{more}): figures on them would be optimistic; give them the split "
            "train, or leave them out"
        )
    if detector.donors is None:
        watcher.tell(
            f"whose images {detector.name} was fitted on is not known here: only its shots "
            "themselves were looked for, not other images of the same patients"
        )


def _gave_shots(bag: Bag, detector: Detector) -> bool:
    """Whether the detector has seen an image of a study, by name or content, or of its patient."""
    names = {name for part in detector.shots.values() for name in part}
    donors = frozenset(detector.donors or ())
    items = [slot.item for slot in slots_of_bag(bag)]
    identities = {name for item in items for name in item.identities}
    if not donors.isdisjoint(digests(identities, detector.fingerprints)):
        return True
    if any(item.name in names for item in items):
        return True
    files = sorted({item.path for item in items}) if detector.fingerprints else ()
    return any(fingerprint(file) in detector.fingerprints for file in files)


class LabelledOnly:
    """An engine that scans only some studies, on this machine."""

    def __init__(self, bags: Iterable[Bag]) -> None:
        self.wanted = {place.study.key for bag in bags for place in bag.places}

    def scan(self, tasks: Sequence[Task], assignment: Assignment) -> None:
        """Scan those of the studies that are wanted; the others are left over."""
        LocalEngine().scan([t for t in tasks if t.study.key in self.wanted], assignment)


def seen_by(detector: Detector, bags: Sequence[Bag], results: Results) -> Iterator[Seen]:
    """What results say of each study; those that the detector was not asked about say so."""
    values = _values(bags)
    studies = {study.key: study for study in results.ranked()}
    for bag in bags:
        found = [studies[key] for key in sorted(_studies(bag)) if key in studies]
        stacks = [stack for study in found for stack in _stacks(bag, study, detector)]
        scored = [stack for stack in stacks if not math.isnan(stack.score)]
        flagged = any(stack.flagged for stack in scored)
        yield Seen(
            key=bag.places[0].study.key,
            patient=bag.patient,
            label=bag.label,
            score=max((stack.score for stack in scored), default=math.nan),
            flagged=flagged,
            uncertain=not flagged and any(stack.uncertain for stack in scored),
            unlike=any(stack.unlike for stack in scored),
            asked=bool(stacks),
            seconds=_seconds(stacks),
            facts={name: values[name][bag.key] for name in VARIABLES},
        )


def _seconds(stacks: Sequence[StackResult]) -> float:
    """Time that it took to score the study, which each of its stacks records."""
    return max((float(stack.info.get("seconds", math.nan)) for stack in stacks), default=math.nan)


def _studies(bag: Bag) -> set[str]:
    return {place.study.key for place in bag.places}


def _stacks(bag: Bag, study: StudyResult, detector: Detector) -> list[StackResult]:
    meant = {place.stack.key for place in bag.places if place.study.key == study.key}
    return [
        stack
        for stack in study.stacks
        if stack.source_key in meant and stack.info["detector_hash"] == detector.digest
    ]


def _values(bags: Sequence[Bag]) -> dict[str, dict[str, str]]:
    """Value of each variable by the key of the bag; ages in bands, many numbers in thirds."""
    facts = {bag.key: _facts(bag) for bag in bags}
    return {
        name: bands(name, {key: said.get(keyword, "") for key, said in facts.items()})
        for name, keyword in VARIABLES.items()
    }


def _facts(bag: Bag) -> Mapping[str, str]:
    """What the header of a study's first stack says, or what lies beside a volume."""
    place, keywords = bag.places[0], list(VARIABLES.values())
    if place.stack.kind is not Kind.DICOM:
        return {keyword: place.study.said(keyword) for keyword in keywords}
    return elements_at(place.stack.frames[0].file.full, keywords)
