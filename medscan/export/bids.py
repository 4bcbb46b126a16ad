"""Anomaly maps as a BIDS derivatives data set, which other research software finds its way in."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medscan import __version__
from medscan.archive import BidsName, Kind, bids_name
from medscan.choices import Grid
from medscan.errors import ExportError
from medscan.export.job import ExportJob, LeftOut, each_stack, scored_slices
from medscan.export.nifti import write_map
from medscan.files import make_folder
from medscan.report import Scale
from medscan.results import StackResult, StudyResult, replacing
from medscan.text import printable

VERSION = "1.11.0"
"""Version of BIDS."""
_KINDS = {
    "FLAIR": ("anat", "FLAIR"),
    "T1": ("anat", "T1w"),
    "T2": ("anat", "T2w"),
    "PD": ("anat", "PDw"),
    "TOF": ("anat", "angio"),
    "MRA": ("anat", "angio"),
    "DWI": ("dwi", "dwi"),
    "ADC": ("dwi", "ADC"),
}
"""Folder and suffix of maps of MR images, by sequence."""
_BEYOND = (
    *("cr", "ct", "dx", "es", "gm", "mg", "micr", "mr", "mrs"),
    *("nm", "op", "opt", "ot", "rf", "sm", "us", "xa", "xc"),
)
"""Folders of maps of images that BIDS has no names for yet."""
_IGNORED = (*_BEYOND, "*_bold.*", "*_cbv.*", "*_dwi.*")
"""What validators are told to ignore: these, and maps of single volumes where BIDS has series."""
_LABEL = "anomaly"
_WHAT = (
    "Anomaly map: patch scores of a detector, interpolated between patch centres on the voxels of "
    "the source; 0 where a slice was not scored. Where the label ends in Upright, the slices of a "
    "tilted volume are moved onto a grid with perpendicular axes."
)
_COLUMNS = {
    "filename": "Anomaly map, below the folder of this table.",
    "score": "Anomaly score of the whole volume.",
    "percentile": "Share of normal volumes with as many slices that score lower, percent.",
    "threshold": "Score from which a volume of as many slices is flagged.",
    "flagged": "Whether the score reaches the threshold.",
    "uncertain": "Whether it is not flagged, but by an acceptance test may not be cleared.",
    "unlike": "Why it is unlike what the detector was fitted on, flagged or not: nobody has "
    "measured what its score means; n/a if it is not, or if that is not known.",
    "provisional": "Whether the threshold was set from too few normals.",
    "slices": "Number of scored slices.",
    "detector": "Name of the detector.",
    "detector_hash": "SHA-256 of its file.",
    "study": "Key of the study in the results file.",
}
_BOOLEAN = {"Levels": {"1": "yes", "0": "no"}}
_SPACE = "that of the source"
_FACTS = {"Detector": "detector", "DetectorHash": "detector_hash", "Method": "method"}
"""Facts of a stack in the JSON file of its map."""
_README = """# Anomaly maps by medscan

Each `*_desc-anomaly_*.nii.gz` is the anomaly map of the image of that name, in its space: high
where a detector found its patches unlike those of normal images. The JSON file beside it names the
detector, and the score from which a patch counts as abnormal. Scores of whole images are in the
`*_scans.tsv` of each session, with what is flagged, uncertain, or unlike what the detector was
fitted on; the JSON files beside these explain the columns.

These are research data: no map is a diagnosis.
"""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the map of a stack goes.

    Parameters
    ----------
    name : BidsName
        Of the source; of a map that is named by pseudonyms, what its source could be called.
    label : str
        See `_label`.
    data_set : Path or None
        Folder of the BIDS data set of the source, if it is known.
    source : str
        Path of the source below `data_set`.
    """

    name: BidsName
    label: str
    data_set: Path | None = None
    source: str = ""

    @property
    def session(self) -> tuple[str, ...]:
        """Names of the folders of its subject and session."""
        return tuple(filter(None, (self.name.subject, self.name.session)))

    @property
    def labels(self) -> tuple[str, str]:
        """Its label, and that of a second map on a grid with perpendicular axes."""
        return self.label, f"{self.label}Upright"

    def stem(self, label: str) -> str:
        """File name of a map without its extension."""
        entities = [f"{key}-{value}" for key, value in self.name.entities if key != "desc"]
        return "_".join((*self.session, *entities, f"desc-{label}", self.name.suffix))


@dataclass(slots=True)
class _DataSet:
    """What was written into a data set so far."""

    folder: Path
    names: set[str] = field(default_factory=set)
    scores: defaultdict[tuple[str, ...], list[list[str]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    labels: set[str] = field(default_factory=set)
    source: Path | None = None
    """Folder of a BIDS data set that this one lies in, as its sources do."""

    def link(self, place: _Place) -> list[str]:
        """BIDS URI of the source of a map, if it can be told without naming this machine."""
        above = place.data_set
        if above is None or not self.folder.resolve().is_relative_to(above):
            return []
        self.source = self.source or above
        return [f"bids:source:{place.source}"] if above == self.source else []


def export(job: ExportJob) -> Iterator[Path | LeftOut]:
    """Write the anomaly map of every scored stack into a BIDS derivatives data set.

    Maps are those of `--to nifti` on the pixels of the source. A map of a file in a BIDS data set
    keeps its name, with `desc-anomaly` before the suffix, if the file can be found. Of all others,
    the pseudonym of the patient is the subject, the key of the study the session and that of the
    stack the reconstruction.
    """
    data_set = _DataSet(job.out)

    def write(job: ExportJob, study: StudyResult, stack: StackResult) -> Iterator[Path]:
        return _write(job, data_set, study, stack)

    yield from each_stack(job, write)
    if data_set.names:
        yield from _write_tables(data_set)


def _write(
    job: ExportJob, data_set: _DataSet, study: StudyResult, stack: StackResult
) -> Iterator[Path]:
    place = _place(job, study, stack)
    stem, folder = place.stem(place.label), job.out.joinpath(*place.session, place.name.data_type)
    if stem in data_set.names:
        raise ExportError(
            f"its map has the name of another, {stem}: export each BIDS data set by itself"
        )
    data_set.names.add(stem)
    facts = _sidecar(job, place, stack, data_set.link(place))
    make_folder(folder)
    labels = {folder / f"{place.stem(label)}.nii.gz": label for label in place.labels}
    for path in write_map(stack, Grid.SOURCE, *labels):
        yield path
        yield _write_json(path.with_name(path.name.replace(".nii.gz", ".json")), facts)
        data_set.labels.add(labels[path])
    name = f"{place.name.data_type}/{stem}.nii.gz"
    data_set.scores[place.session].append(_row(study, stack, name))


# --- names -------------------------------------------------------------------------------------


def _place(job: ExportJob, study: StudyResult, stack: StackResult) -> _Place:
    """Name of a map: that of its source, else one made of keys and pseudonyms."""
    path = stack.path[0]
    if job.sources is not None and stack.info["kind"] != Kind.DICOM:
        path = job.source(study, stack).frames[0].file.full.as_posix()
    stated = bids_name(path)
    if stated is None:
        return _Place(_made_up(study, stack), _label("", "", stack))
    own = dict(stated.entities).get("desc", "")
    label = _label(own, stack.source_key.partition("-")[2], stack)
    if not path.startswith("/"):
        return _Place(stated, label)
    return _Place(stated, label, Path(stated.data_set), path.removeprefix(f"{stated.data_set}/"))


def _label(own: str, volume: str, stack: StackResult) -> str:
    """Label of `desc`: with the source's own, the number of a later volume, and another detector.

    Of two detectors that scored the same stack, the one that the last scan did not ask for is told
    by its hash.
    """
    other = stack.key.removeprefix(stack.source_key).removeprefix("-")
    return f"{_LABEL}{own[:1].upper()}{own[1:]}{volume}{f'By{other}' if other else ''}"


def _made_up(study: StudyResult, stack: StackResult) -> BidsName:
    session = _alphanumeric(study.key)
    patient = _alphanumeric(str(study.info.get("patient") or "")) or session
    data_type, suffix = _kind(stack.info)
    entities = (("rec", _alphanumeric(stack.source_key)),)
    return BidsName("", f"sub-{patient}", f"ses-{session}", data_type, entities, suffix)


def _kind(info: dict[str, Any]) -> tuple[str, str]:
    """Folder and suffix of a map, by modality and sequence of its source."""
    modality, sequence = str(info["modality"]).lower(), str(info["sequence"]).upper()
    if modality == "pt":
        return "pet", "pet"
    if modality in ("", "mr") and sequence in _KINDS:
        return _KINDS[sequence]
    beyond = modality if modality in _BEYOND else "ot"
    return beyond, beyond


def _alphanumeric(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]", "", text)


# --- tables ------------------------------------------------------------------------------------


def _sidecar(
    job: ExportJob, place: _Place, stack: StackResult, sources: list[str]
) -> dict[str, Any]:
    facts: dict[str, Any] = {"Description": _WHAT, "SkullStripped": False}
    facts |= {"Sources": sources} if sources else {}
    facts |= {"SpatialReference": _SPACE} if "space" in dict(place.name.entities) else {}
    facts |= {name: printable(str(stack.info[key])) for name, key in _FACTS.items()}
    scale = Scale.of(job.detector(stack))
    return facts | ({"PatchThreshold": scale.middle} if scale else {})


def _row(study: StudyResult, stack: StackResult, name: str) -> list[str]:
    info = stack.info
    return [
        name,
        f"{stack.score:.6f}",
        f"{stack.percentile:.2f}",
        f"{info['threshold']:.6f}",
        str(int(stack.flagged)),
        str(int(stack.uncertain)),
        printable("; ".join(stack.unlike)),
        str(int(info["provisional"])),
        str(len(scored_slices(stack))),
        printable(str(info["detector"])),
        printable(str(info["detector_hash"])),
        study.key,
    ]


def _write_tables(data_set: _DataSet) -> Iterator[Path]:
    folder = data_set.folder
    for session, rows in sorted(data_set.scores.items()):
        stem = folder.joinpath(*session, f"{'_'.join(session)}_scans")
        yield _write_tsv(stem.with_name(f"{stem.name}.tsv"), list(_COLUMNS), sorted(rows))
        yield _write_json(stem.with_name(f"{stem.name}.json"), _dictionary())
    labels = [[f"desc-{label}", _WHAT] for label in sorted(data_set.labels)]
    yield _write_tsv(folder / "descriptions.tsv", ["desc_id", "description"], labels)
    yield _write_text(folder / ".bidsignore", "".join(f"{name}\n" for name in _IGNORED))
    yield _write_text(folder / "README.md", _README)
    yield _write_json(folder / "dataset_description.json", _description(data_set))


def _dictionary() -> dict[str, Any]:
    meanings: dict[str, Any] = {name: {"Description": t} for name, t in _COLUMNS.items()}
    for name in ("flagged", "uncertain", "provisional"):
        meanings[name] |= _BOOLEAN
    return meanings


def _description(data_set: _DataSet) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "Name": "Anomaly maps by medscan",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "medscan", "Version": __version__}],
    }
    if data_set.source is not None:
        up = os.path.relpath(data_set.source, data_set.folder.resolve())
        facts["DatasetLinks"] = {"source": f"{Path(up).as_posix()}/"}
    return facts


def _write_tsv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Path:
    lines = ("\t".join(cell or "n/a" for cell in row) for row in (columns, *rows))
    return _write_text(path, "".join(f"{line}\n" for line in lines))


def _write_json(path: Path, facts: dict[str, Any]) -> Path:
    return _write_text(path, json.dumps(facts, indent=2) + "\n")


def _write_text(path: Path, text: str) -> Path:
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")
    return path
