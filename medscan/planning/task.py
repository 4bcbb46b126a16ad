"""What a scan has to do for one study."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medscan.archive import ArchiveFile, Outcome, Reason, Series, Stack, Study
from medscan.detector import Detector
from medscan.planning.ledger import NO_MARK
from medscan.results import Earlier, Entry, Mark, Score, outdated_entries

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
    out_of_scope : tuple of (Series, Stack)
        Stacks that no detector was fitted for.
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
    why_not : tuple of (list of str)
        For each stack out of scope, a sentence for each detector that was tried.
    kept_outcomes : tuple of Outcome
        Of files that no stack to score uses, but a kept score was made from: as of that scan.
    """

    study: Study
    stacks: tuple[tuple[Series, Stack, Detector], ...]
    out_of_scope: tuple[tuple[Series, Stack], ...]
    content: str
    maker: str
    companions: tuple[ArchiveFile, ...] = ()
    asked: tuple[Score, ...] = ()
    earlier: Earlier = NOTHING_EARLIER
    why_not: tuple[list[str], ...] = ()
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
        unused = {f.file: series for series, stack in self.out_of_scope for f in stack.frames}
        return [
            Outcome(file, Reason.OUT_OF_SCOPE, _description(series))
            for file, series in sorted(unused.items(), key=lambda pair: pair[0])
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
        return ", ".join(sorted({_description(series) for series, _ in self.out_of_scope}))

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
                Reason.OUT_OF_SCOPE.value,
                tried,
            ]
            for (series, stack), tried in zip(self.out_of_scope, self.why_not, strict=True)
            if stack.key not in kept
        ]
        return [*out_of_scope, *outdated_entries(self.earlier, last, self.asked)]


def _description(series: Series) -> str:
    return " ".join(filter(None, (series.modality or "unknown modality", series.body_part)))
