"""What a scan has to do for one study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from medscan.archive import ArchiveFile, Outcome, Reason, Series, Stack, Study
from medscan.detector import Detector
from medscan.planning.ledger import NO_MARK
from medscan.results import Earlier, Entry, Mark, Score, outdated_entries
from medscan.routing import Route, listed

NOTHING_EARLIER = Earlier()


@dataclass(frozen=True, slots=True)
class Task:
    """What a scan has to do for one study.

    Hashes decide later whether the study must be scanned again. `content` covers its files and the
    options that change a result, and `Score.asked` what is asked of a stack: its files, its
    detector by name, the target rate. When the results lack one of them, the study is scanned.
    `maker` covers the versions that made a result: when only that differs, the result stays valid
    but is stale, and is replaced with `--rescan stale` only. `Score.source` covers the files of a
    stack: a score stays while this does, even if this scan does not ask for it.

    Parameters
    ----------
    study : Study
    stacks : tuple of (Series, Stack, Detector)
        Stacks to score, each with its detector.
    out_of_scope : tuple of (Series, Stack, Route)
        Stacks that no detector scores, and what was tried.
    content : str
        SHA-256 of the study's files, the options that change a result, and its stacks.
    maker : str
        SHA-256 of the version of preprocessing.
    companions : tuple of ArchiveFile
        Files with the voxels, where the study's own files are only headers.
    asked : tuple of Score
        What is asked of each stack to score; not when, since it is not scored yet.
    earlier : Earlier
        Scores of earlier scans that this one does not ask for.
    assumed : dict
        What is assumed of a stack to score, by its key, such as "modality MR": the user named its
        detector, and its header does not say.
    kept_outcomes : tuple of Outcome
        Of files that no stack to score uses, but a kept score was made from: as of that scan.
    """

    study: Study
    stacks: tuple[tuple[Series, Stack, Detector], ...]
    out_of_scope: tuple[tuple[Series, Stack, Route], ...]
    content: str
    maker: str
    companions: tuple[ArchiveFile, ...] = ()
    asked: tuple[Score, ...] = ()
    earlier: Earlier = NOTHING_EARLIER
    assumed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kept_outcomes: tuple[Outcome, ...] = ()

    def used_files(self) -> set[ArchiveFile]:
        """Return the files of the stacks to score."""
        return {f.file for _, stack, _ in self.stacks for f in stack.frames}

    def aside_outcomes(self) -> list[Outcome]:
        """Return what this scan says of the files that no stack to score uses."""
        detectors = ", ".join(sorted({score.detector for score in self.earlier.kept}))
        reason = Reason.KEPT
        kept = {o.file: replace(o, reason=reason, detail=detectors) for o in self.kept_outcomes}
        return [kept.get(outcome.file, outcome) for outcome in self.out_of_scope_outcomes()]

    def unused_outcomes(self) -> list[Outcome]:
        """Return the same for the ledger: a file of a kept score has the outcome of that scan."""
        kept = {outcome.file: outcome for outcome in self.kept_outcomes}
        return [kept.get(outcome.file, outcome) for outcome in self.out_of_scope_outcomes()]

    def out_of_scope_outcomes(self) -> list[Outcome]:
        """Return the outcomes of the files that no scored stack uses."""
        used = self.used_files()
        unused = {
            f.file: (_reason(route), f"{_description(series)}: {route.why()}".removesuffix(": "))
            for series, stack, route in self.out_of_scope
            for f in stack.frames
        }
        return [
            Outcome(file, *why)
            for file, why in sorted(unused.items(), key=lambda pair: pair[0])
            if file not in used
        ]

    def expected_outcomes(self) -> list[Outcome]:
        """Return the outcomes of its files if nothing goes wrong."""
        scanned = (Outcome(file, Reason.SCANNED) for file in sorted(self.used_files()))
        return [*self.aside_outcomes(), *scanned]

    def left_over_outcomes(self) -> list[Outcome]:
        """Return the outcomes of its files if the scan stops before this study."""
        return [Outcome(file, Reason.LEFT_OVER) for file in self.study.files()]

    def kinds(self) -> str:
        """Return what the stacks out of scope show, such as `CT CHEST`, each kind once."""
        return ", ".join(sorted({_description(series) for series, _, _ in self.out_of_scope}))

    def missing(self) -> str:
        """Return what a detector asks for and no header says, as "modality"; else empty.

        Parts that a named detector would only assume; a stack that says more counts.
        """
        nearest = [route.nearest for _, _, route in self.out_of_scope if route.nearest]
        return listed(min((trial.missing for trial in nearest), key=len, default=()))

    def skipped_stacks(self, last: Mark = NO_MARK) -> list[Entry]:
        """Return [description, reason, sentences] of what is not scored, or not any more.

        Parameters
        ----------
        last : Mark
            Of the last scan.
        """
        kept = {score.stack for score in self.earlier.kept}
        out_of_scope = [
            [
                f"{stack.key} {_description(series)} {stack.plane or ''}".strip(),
                str(Reason.KEPT if stack.key in kept else _reason(route)),
                route.sentences(),
            ]
            for series, stack, route in self.out_of_scope
        ]
        return [*out_of_scope, *outdated_entries(self.earlier, last, self.asked)]


def _reason(route: Route) -> Reason:
    """Why a stack is not scored: its header says that it is something else, or does not say."""
    return Reason.UNSTATED if route.nearest else Reason.OUT_OF_SCOPE


def _description(series: Series) -> str:
    return " ".join(filter(None, (series.modality or "unknown modality", series.body_part)))
