"""What a user wants of a PACS, told to the server and matched again here.

Servers ignore filters that they do not know, and some find nothing by texts with blanks, stars or
letters beyond ASCII. They are therefore asked by dates and modalities alone, whose form is plain.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pydicom.dataset import Dataset

from medscan.archive import Kind, Stack, facts_of, text
from medscan.detector import Detector
from medscan.errors import UsageError
from medscan.routing import route
from medscan.text import is_uid, printable

STUDY_FIELDS = ("StudyDescription",)
SERIES_FIELDS = ("SeriesDescription", "BodyPartExamined", "ProtocolName", "Manufacturer")
"""Attributes that a search need not return unless asked: those that all images of a series share,
of those that detectors are chosen by."""
_DATE = re.compile(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})")
_AGO = re.compile(r"([0-9]{1,5})d")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a PACS.

    Parameters
    ----------
    since, until : datetime.date or None
        First and last study date.
    modalities : tuple of str
        Modalities of series; empty: any.
    descriptions : tuple of str
        Patterns of series descriptions, with * and ?, in any case; empty: any.
    studies : tuple of str
        UIDs of studies; empty: all.
    detectors : tuple of Detector
        A series that none of them could take is left where it is.
    """

    since: datetime.date | None = None
    until: datetime.date | None = None
    modalities: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    detectors: tuple[Detector, ...] = ()

    def check(self) -> None:
        """Refuse what cannot be asked for.

        Raises
        ------
        UsageError
            If something is not valid.
        """
        for modality in self.modalities:
            if not re.fullmatch(r"[A-Z0-9_ ]{1,16}", modality):
                raise UsageError(f"--modality {printable(modality, 80)}: a term such as MR")
        for uid in self.studies:
            if not is_uid(uid):
                raise UsageError(f"--study {printable(uid, 80)}: a StudyInstanceUID")
        if self.since and self.until and self.since > self.until:
            raise UsageError("--since is after --until")

    def filters(self) -> list[dict[str, str]]:
        """What the server is asked for: the filters of one search, or of several."""
        common: dict[str, str] = {}
        if self.since or self.until:
            first, last = (f"{day:%Y%m%d}" if day else "" for day in (self.since, self.until))
            common["StudyDate"] = f"{first}-{last}"
        if len(self.modalities) == 1:  # not every server takes a list
            common["ModalitiesInStudy"] = self.modalities[0]
        return [common | {"StudyInstanceUID": uid} for uid in self.studies] or [common]

    @property
    def narrowed(self) -> str:
        """What a study is asked for by beside its UID, in words; empty if by nothing."""
        by = {"dates": self.since or self.until, "modalities": self.modalities}
        words = " and ".join(name for name, given in by.items() if given)
        return f" of the {words} asked for" if words else ""

    def wants_study(self, found: Dataset) -> bool:
        """Whether a study that the server lists is one that was asked for."""
        if self.studies and text(found, "StudyInstanceUID") not in self.studies:
            return False
        if not (self.since or self.until):
            return True
        match = _DATE.fullmatch(text(found, "StudyDate").replace(".", ""))
        if match is None:
            return False
        date = "".join(match.groups())
        first = f"{self.since:%Y%m%d}" if self.since else ""
        return first <= date and (self.until is None or date <= f"{self.until:%Y%m%d}")

    def refusal(self, study: Dataset, found: Dataset) -> str:
        """Say why a series that the server lists is not wanted; empty if it is.

        It is judged by what all its images share, as a scan judges it; what the server does not
        say speaks for no detector and against none.
        """
        modality = text(found, "Modality").upper()
        if self.modalities and modality and modality not in self.modalities:
            return f"modality {printable(modality, 16)}"
        description = text(found, "SeriesDescription").casefold()
        wanted = [pattern.casefold() for pattern in self.descriptions]
        if wanted and not any(fnmatchcase(description, pattern) for pattern in wanted):
            return "its description"
        return self._out_of_scope(study, found)

    def _out_of_scope(self, study: Dataset, found: Dataset) -> str:
        header = Dataset()
        for owner, keywords in ((study, STUDY_FIELDS), (found, ("Modality", *SERIES_FIELDS))):
            for keyword in (keyword for keyword in keywords if keyword in owner):
                header.add(owner[keyword])
        stack = Stack("", Kind.DICOM, (), 0, 0, facts=facts_of(header))
        if not self.detectors or route(stack, self.detectors, named=True).detector:
            return ""
        return "out of scope of every detector"


def day(words: str, today: datetime.date) -> datetime.date:
    """Parse a day: today, yesterday, 3d for three days ago, or a date such as 2026-11-28.

    Raises
    ------
    UsageError
        If it is none.
    """
    named = {"today": 0, "yesterday": 1}
    ago = _AGO.fullmatch(words)
    if words in named or ago:
        return today - datetime.timedelta(days=int(ago[1]) if ago else named[words])
    date = _DATE.fullmatch(words)
    try:
        if date:
            return datetime.date(*map(int, date.groups()))
    except ValueError:
        pass
    raise UsageError(
        f"{printable(words, 80)} is no day: today, yesterday, 3d, or a date such as 2026-11-28"
    )


def days(since: str | None, until: str | None) -> Sequence[datetime.date | None]:
    """Parse --since and --until, in local time.

    Raises
    ------
    UsageError
        If one is no day.
    """
    today = datetime.datetime.now().astimezone().date()
    return [day(words, today) if words else None for words in (since, until)]
