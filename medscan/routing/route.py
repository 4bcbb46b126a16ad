"""Choose the detector for a stack, and say what was tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from medscan.archive import Stack
from medscan.detector import Detector, Domain
from medscan.routing.judge import Answer, Finding, judge, judge_left_out, verdict


@dataclass(frozen=True, slots=True)
class Trial:
    """A detector that was tried on a stack, and what was found.

    Parameters
    ----------
    detector : Detector
    findings : tuple of Finding
        One for each part of its domain; only the modality where that contradicts.
    """

    detector: Detector
    findings: tuple[Finding, ...]

    @property
    def answer(self) -> Answer:
        """Whether the stack fits the detector."""
        return verdict(self.findings)

    @property
    def missing(self) -> tuple[str, ...]:
        """Parts of the domain that the header does not state, such as "modality"."""
        return tuple(f.part for f in self.findings if f.answer is Answer.SILENT)

    @property
    def assumed(self) -> tuple[str, ...]:
        """The same with what is assumed, such as "modality MR"."""
        return tuple(f"{f.part} {f.wanted}" for f in self.findings if f.answer is Answer.SILENT)

    def why(self) -> str:
        """What in the header contradicts the domain, or what it does not say."""
        if self.answer is Answer.CONTRADICTS:
            return "; ".join(f.because for f in self.findings if f.answer is self.answer)
        return f"does not say {listed(self.missing)}" if self.missing else ""

    def sentence(self) -> str:
        """What the detector asks for, and what the header says instead."""
        found = self.why()
        if self.answer is not Answer.CONTRADICTS:
            found = f"the header {found}; name the detector to have it scored" if found else "fits"
        return f"{self.detector.name} asks for {self.detector.domain}: {found}"


@dataclass(frozen=True, slots=True)
class Route:
    """What became of a stack.

    Parameters
    ----------
    detector : Detector or None
        The one that scores it.
    trials : tuple of Trial
        All detectors, in the user's order.
    """

    detector: Detector | None
    trials: tuple[Trial, ...]

    @property
    def assumed(self) -> tuple[str, ...]:
        """What is assumed of a stack that is scored, such as "modality MR"."""
        own = (t for t in self.trials if t.detector is self.detector)
        return next((trial.assumed for trial in own), ())

    @property
    def nearest(self) -> Trial | None:
        """Of a stack that is not scored: the detector that would score it if it were named."""
        silent = [trial for trial in self.trials if trial.answer is Answer.SILENT]
        return max(silent, key=_closeness, default=None)

    def sentences(self) -> list[str]:
        """What each detector that was tried asks for, and what the header says instead."""
        return [trial.sentence() for trial in self.trials]

    def why(self) -> str:
        """Why it is not scored: the header values that decided, with the detectors against it."""
        if self.nearest:
            return f"it {self.nearest.why()}, which {self.nearest.detector.name} asks for"
        by_reason: dict[str, list[str]] = {}
        for trial in self.trials:
            by_reason.setdefault(trial.why(), []).append(trial.detector.name)
        return "; ".join(f"{why}, not for {listed(names)}" for why, names in by_reason.items())


def route(
    stack: Stack,
    detectors: Sequence[Detector],
    *,
    named: bool,
    left_out: Sequence[tuple[str, str]] = (),
) -> Route:
    """Try every detector on a stack, and choose the one that fits best.

    Parameters
    ----------
    stack : Stack
    detectors : sequence of Detector
        In the user's order, which decides between equally good ones.
    named : bool
        Whether the user named the detectors. If so, one may also score a stack that does not say
        whether it is what the detector is for; never one that contradicts that.
    left_out : sequence of (str, str)
        Keywords of facts, and words: a stack that has one contradicts every detector.
    """
    barred = judge_left_out(stack.facts, left_out)
    trials = tuple(Trial(d, barred or judge(d.domain, stack)) for d in detectors)
    good = [trial for trial in trials if trial.answer is Answer.FITS]
    if named and not good:
        good = [trial for trial in trials if trial.answer is Answer.SILENT]
    best = max(good, key=_closeness, default=None)
    return Route(best.detector if best else None, trials)


def _closeness(trial: Trial) -> tuple[int, int]:
    """Parts of the domain that the header confirms, then all parts: the narrower the better."""
    confirmed = sum(f.answer is Answer.FITS and bool(f.wanted) for f in trial.findings)
    return confirmed, narrowness(trial.detector.domain)


def narrowness(domain: Domain) -> int:
    """Count the facts that a domain restricts."""
    return sum(bool(part) for part in astuple(domain))


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1] if words else ""]))
