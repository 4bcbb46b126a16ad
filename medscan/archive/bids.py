"""What the name of a file in a BIDS data set says of its image.

The Brain Imaging Data Structure (BIDS 1.11, bids-specification.readthedocs.io) names a file twice:
`sub-01/ses-2/anat/sub-01_ses-2_acq-3d_FLAIR.nii.gz`. A name counts only if its folders say the
same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from medscan.archive.types import ArchiveFile

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
DESCRIPTION = "dataset_description.json"
"""File in the folder of every BIDS data set."""
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
    def modality(self) -> str:
        """Modality of the image."""
        return MODALITIES[self.data_type]


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


def study_path(file: ArchiveFile) -> str:
    """Path below the archive root that names the study of a file without UIDs.

    That is the folder of its session in a BIDS data set, or of its subject if it has no sessions,
    "." if that is the root or above; of any other file its own path.
    """
    if bids_name(file.full.as_posix()) is None:
        return file.path
    return PurePosixPath(*PurePosixPath(file.path).parts[:-2]).as_posix()
