import datetime
from types import SimpleNamespace

import pytest
from pydicom import Dataset

from medscan.detector import Domain
from medscan.errors import UsageError
from medscan.fetching import Wish
from medscan.fetching.wish import day

TODAY = datetime.date(2026, 11, 28)


def said(**elements):
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    ("words", "date"),
    [
        ("today", "2026-11-28"),
        ("yesterday", "2026-11-27"),
        ("30d", "2026-10-29"),
        ("20260102", "2026-01-02"),
        ("2026-01-02", "2026-01-02"),
    ],
)
def test_a_day_in_words(words, date):
    assert day(words, TODAY).isoformat() == date


@pytest.mark.parametrize("words", ["", "tomorrow", "2026-02-30", "3h", "1/2/2026"])
def test_what_is_no_day_is_refused(words):
    with pytest.raises(UsageError, match="is no day"):
        day(words, TODAY)


def test_the_server_is_asked_by_what_every_server_knows():
    wish = Wish(TODAY, modalities=("MR",), descriptions=("*naïve flair*",))
    assert wish.filters() == [{"StudyDate": "20261128-", "ModalitiesInStudy": "MR"}]
    assert Wish(until=TODAY, modalities=("MR", "CT")).filters() == [{"StudyDate": "-20261128"}]
    assert len(Wish(studies=("1.2", "1.3")).filters()) == 2


def test_descriptions_match_here_whatever_they_are_made_of():
    wish = Wish(descriptions=("*flaïr^ax*",))
    assert wish.refusal(said(), said(SeriesDescription="T2 FLAÏR^AX 3mm")) == ""
    assert wish.refusal(said(), said(SeriesDescription="T2 FLAIR AX 3mm")) == "its description"
    assert wish.refusal(said(), said()) == "its description"


def test_a_modality_that_is_not_stated_is_not_another_one():
    wish = Wish(modalities=("MR",))
    assert wish.refusal(said(), said(Modality="CT")) == "modality CT"
    assert wish.refusal(said(), said()) == ""


@pytest.mark.parametrize(
    ("series", "taken"),
    [
        ({"Modality": "MR", "SeriesDescription": "AX FLAIR"}, True),
        ({"Modality": "MR"}, True),  # it may be one
        ({"Modality": "CT"}, False),
        ({"Modality": "MR", "BodyPartExamined": "KNEE"}, False),
        ({"Modality": "MR", "SeriesDescription": "AX T1"}, False),
        ({"Modality": "SEG"}, False),
    ],
)
def test_a_series_is_left_that_no_detector_could_take(series, taken):
    domain = Domain("MR", "BRAIN", "FLAIR", "axial")
    wish = Wish(detectors=(SimpleNamespace(name="flair", domain=domain),))
    assert (wish.refusal(said(), said(**series)) == "") is taken


@pytest.mark.parametrize(
    ("date", "wanted"),
    [("20261128", True), ("2026.11.28", True), ("20261127", False), ("", False), ("soon", False)],
)
def test_dates_are_compared_again(date, wanted):
    assert Wish(since=TODAY, until=TODAY).wants_study(said(StudyDate=date)) is wanted


@pytest.mark.parametrize(
    "wish",
    [
        Wish(modalities=("MR*",)),
        Wish(studies=("1.2/../3",)),
        Wish(TODAY, datetime.date(2026, 1, 1)),
    ],
)
def test_what_cannot_be_asked_for_is_refused(wish):
    with pytest.raises(UsageError):
        wish.check()
