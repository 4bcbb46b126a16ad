"""What a history shows: lines over time, alarms, and how verdicts went."""

from __future__ import annotations

from dataclasses import dataclass

from medscan.metrics import Estimate

ALL = "all"
"""Variable of the stratum of all studies."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A study in a stratum on a night: its stacks there, taken together.

    Parameters
    ----------
    study, night : str
    score, distance : float
        The highest; NaN if nothing was scored, or the detector has no gate.
    flagged, uncertain, unlike, failed : bool
        Whether any stack is.
    software, protocol, model : str
        Of its first stack.
    """

    study: str
    night: str
    score: float
    distance: float
    flagged: bool
    uncertain: bool
    unlike: bool
    failed: bool
    software: str
    protocol: str
    model: str


@dataclass(frozen=True, slots=True)
class Stratum:
    """What a line is about.

    Parameters
    ----------
    detector, name : str
        Hash and name.
    variable, value : str
        One of `VARIABLES`, or `ALL`.
    """

    detector: str
    name: str
    variable: str
    value: str

    def __str__(self) -> str:
        return "all studies" if self.variable == ALL else f"{self.variable} {self.value}"


@dataclass(frozen=True, slots=True)
class Line:
    """A stratum over time.

    Parameters
    ----------
    stratum : Stratum
    nights : tuple of str
        On which it had studies.
    studies, flagged, uncertain, unlike, failed : tuple of int
        Numbers by night.
    medians : tuple of float
        Median score by night; NaN where nothing was scored.
    evidence : tuple of float
        That scores have changed, by night: 1 is an alarm.
    """

    stratum: Stratum
    nights: tuple[str, ...]
    studies: tuple[int, ...]
    flagged: tuple[int, ...]
    uncertain: tuple[int, ...]
    unlike: tuple[int, ...]
    failed: tuple[int, ...]
    medians: tuple[float, ...]
    evidence: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A stratum that has changed.

    Parameters
    ----------
    stratum : Stratum
    measure : str
        One of `medscan.monitoring.watch.MEASURES`.
    began, noticed : str
        The night since which it probably has, and the first on which the evidence sufficed.
    how : str
        What has become of the measure, in words.
    changed : tuple of str
        What else changed at that time, in words.
    evidence : float
        The highest.
    """

    stratum: Stratum
    measure: str
    began: str
    noticed: str
    how: str
    changed: tuple[str, ...]
    evidence: float

    @property
    def sentence(self) -> str:
        """All of it in a sentence."""
        text = (
            f"{self.stratum.name}, {self.stratum}: {self.measure} {self.how} since the night of "
            f"{self.began}, noticed on {self.noticed}"
        )
        return f"{text}; at that time: {'; '.join(self.changed)}" if self.changed else text


@dataclass(frozen=True, slots=True)
class Precision:
    """Of flagged studies with a verdict, the abnormal ones.

    Parameters
    ----------
    name : str
        Of the detector.
    month : str
        YYYY-MM.
    abnormal, judged : int
    share : Estimate
        With its exact interval.
    """

    name: str
    month: str
    abnormal: int
    judged: int
    share: Estimate


@dataclass(frozen=True, slots=True)
class Watched:
    """What a history shows.

    Parameters
    ----------
    rate : float
        Probability of a false alarm of a detector within `NIGHTS` nights, at most.
    nights : tuple of str
    lines : tuple of Line
    alarms : tuple of Alarm
        Those of the narrowest strata first: most evidence first.
    precision : tuple of Precision
    """

    rate: float
    nights: tuple[str, ...]
    lines: tuple[Line, ...]
    alarms: tuple[Alarm, ...]
    precision: tuple[Precision, ...]
