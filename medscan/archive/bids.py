"""What the name of a file in a BIDS data set says of its image.

The Brain Imaging Data Structure (BIDS 1.11, bids-specification.readthedocs.io) names a file twice:
`sub-01/ses-2/anat/sub-01_ses-2_acq-3d_FLAIR.nii.gz`. A name counts only if its folders say the
same. Labels are the site's own: of all entities, only those that BIDS defines values of are facts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from medscan.archive.facts import FILE_NAME, NO_AGENT, Facts
from medscan.archive.header import Header, Record
from medscan.archive.types import ArchiveFile, Kind, Outcome, Reason

MODALITIES = {
    "anat": "MR",
    "func": "MR",
    "dwi": "MR",
    "fmap": "MR",
    "perf": "MR",
    "mrs": "MR",
    "pet": "PT",
    "ct": "CT",
    "micr": "SM",
}
"""Modality of the images in each folder of a session (PS3.3 C.7.3.1.1.1), by the folder's name.

`ct` is that of BIDS extension proposal 24, the others those of BIDS 1.11.
"""
BODY_PART = "BRAIN"
"""Body part of MR images, unless something else is stated."""
MASKS = ("mask", "dseg", "probseg", "defacemask")
"""Suffixes of what is no image, but drawn on one."""
_PLAIN = """
T1w T2w PDw T2starw FLAIR PDT2 angio T2star PD UNIT1 MP2RAGE MTR MTsat
bold cbv sbref dwi ADC colFA trace epi asl m0scan pet ct
"""
_WORDS = dict(zip(_PLAIN.split(), _PLAIN.split(), strict=True)) | {
    "inplaneT1": "T1 inplane",
    "inplaneT2": "T2 inplane",
    "FLASH": "FLASH",
    "MEGRE": "T2star MEGRE",
    "MESE": "T2 MESE",
    "VFA": "T1 map VFA",
    "IRT1": "T1 map IRT1",
    "MPM": "MTR MPM",
    "MTS": "MTR MTS",
    "T1rho": "T1rho map",
    "phase": "phase images",
    "noRF": "calibration noRF",
    "FA": "FA map",
    "expADC": "eADC",
    "svs": "MRS svs",
    "mrsi": "MRS mrsi",
    "unloc": "MRS unloc",
    "mrsref": "MRS mrsref",
}
"""How suffixes are called in the descriptions of series."""
_GRADIENT_ECHOES = ("FLASH", "MEGRE", "VFA")
_MAPS = ("T1", "T2", "T2star", "R1", "R2", "R2star", "PD", "MTR", "MWF", "MTV", "Chi", "S0", "M0")
_WORDS |= {f"{name}map": f"{name} map" for name in _MAPS}
_FIELD_MAPS = """
phasediff phase1 phase2 magnitude1 magnitude2 magnitude fieldmap TB1DAM TB1EPI TB1AFI TB1TFL TB1RFM
RB1COR TB1SRGE TB1map RB1map
"""
_WORDS |= {suffix: f"fieldmap {suffix}" for suffix in _FIELD_MAPS.split()}
_PARTS = {"mag": "MAGNITUDE", "phase": "PHASE", "real": "REAL", "imag": "IMAGINARY"}
"""Complex Image Component (PS3.3 C.8.13.3.1.1) by the label of `part`."""
_ENTITY = re.compile(r"([a-zA-Z0-9]+)-([a-zA-Z0-9+]+)")
_SUBJECT = re.compile(r"sub-[a-zA-Z0-9+]+")
_SESSION = re.compile(r"ses-[a-zA-Z0-9+]+")
_SUFFIX = re.compile(r"[a-zA-Z0-9]+")


@dataclass(frozen=True, slots=True)
class BidsName:
    """Parts of the path of a file in a BIDS data set.

    Parameters
    ----------
    data_set : str
        POSIX path of the data set's folder.
    subject, session : str
        Names of folders, such as `sub-01` and `ses-2`; a subject without sessions has "".
    data_type : str
        Name of the folder that the file lies in, such as `anat`.
    entities : tuple of (str, str)
        The other entities in the name, in their order, such as `("acq", "3d")`.
    suffix : str
        Last part of the name without its extension, such as `FLAIR`.
    """

    data_set: str
    subject: str
    session: str
    data_type: str
    entities: tuple[tuple[str, str], ...]
    suffix: str

    @property
    def depth(self) -> int:
        """Number of folders from that of the data set to the file."""
        return 3 if self.session else 2

    @property
    def all_entities(self) -> frozenset[str]:
        """Every part of the name but the suffix, such as `acq-3d`."""
        others = (f"{key}-{label}" for key, label in self.entities)
        return frozenset((self.subject, *filter(None, [self.session]), *others))

    def facts(self) -> Facts:
        """What the name says of the image; see `facts.Facts`."""
        labels = dict(self.entities)
        agent = labels.get("ce", "")
        facts = {
            "Modality": MODALITIES[self.data_type],
            "ScanningSequence": "GR" if self.suffix in _GRADIENT_ECHOES else "",
            "ComplexImageComponent": _PARTS.get(labels.get("part", ""), ""),
            "ContrastBolusAgent": "" if agent.upper() in NO_AGENT else agent,
            FILE_NAME: _WORDS.get(self.suffix, ""),
        }
        return {keyword: value for keyword, value in facts.items() if value}


def bids_name(path: str) -> BidsName | None:
    """Take a path apart; None if it is not that of a file in a session of a BIDS data set.

    Parameters
    ----------
    path : str
        POSIX path, as long as it is known.
    """
    parts = path.split("/")
    if len(parts) < 3 or parts[-2] not in MODALITIES:
        return None
    *folders, data_type, name = parts
    session = folders.pop() if _SESSION.fullmatch(folders[-1]) else ""
    subject = folders.pop() if folders else ""
    stated = [subject, session] if session else [subject]
    *entities, suffix = name.partition(".")[0].split("_")
    labels = [_ENTITY.fullmatch(entity) for entity in entities[len(stated) :]]
    if not _SUBJECT.fullmatch(subject) or entities[: len(stated)] != stated:
        return None
    if not _SUFFIX.fullmatch(suffix) or not all(labels):
        return None
    others = tuple((label[1], label[2]) for label in labels if label)
    return BidsName("/".join(folders), subject, session, data_type, others, suffix)


def named(header: Header) -> Record:
    """Add to a header what the file's name in a BIDS data set says; set masks aside.

    The patient is the subject of the data set, by its full path: the same label in two data sets
    means two people.
    """
    if header.kind is Kind.DICOM:  # it states all itself, and there may be millions
        return header
    name = bids_name(header.file.full.as_posix())
    if name is None:
        return header
    if name.suffix in MASKS:
        return Outcome(header.file, Reason.DERIVED, "a mask")
    folders = PurePosixPath(header.file.full).parts[: -name.depth]
    patient = PurePosixPath(*folders[:-1], name.subject).as_posix()
    # The rest of the name, such as a task, may mislead.
    return replace(header, facts={**header.facts, **name.facts()}, patient_id=patient)


def study_path(file: ArchiveFile, path: str) -> str:
    """Part of a path that names the study of a file without UIDs.

    That is the folder of its session in a BIDS data set, or of its subject if it has no sessions;
    of any other file its own path.

    Parameters
    ----------
    file : ArchiveFile
    path : str
        Its path below the archive root, or the full one.
    """
    if bids_name(file.full.as_posix()) is None:
        return path
    return PurePosixPath(*PurePosixPath(path).parts[:-2]).as_posix()
