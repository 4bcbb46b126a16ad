"""The pipeline from studies to results: draw slices ahead, score batches, assemble studies.

Three steps overlap. Decoders pull jobs from a generator and so set the pace; scorers fill batches
across series and studies; a study is complete when each of its slices has a score, an error or is
background. A study may therefore complete in several places: when its last slice comes back from
a scorer, when that slice was never scored, or, if it has no slices, when its jobs are handed out.
Each of these calls `_finish_if_complete`.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain

from medscan.archive import Outcome, Pseudonyms, Reason, Series, Stack
from medscan.detector import Detector
from medscan.errors import DeviceError, DiskError, FileError, LedgerError, MedscanError
from medscan.options import Inputs, Privacy
from medscan.planning import Task
from medscan.reading import DrawJob, Drawn
from medscan.results import Mark, StackResult, StudyResult, Work
from medscan.scanning.disk import Room, has_entries
from medscan.scanning.guard import Stop, StoppedError, Watchdog
from medscan.scanning.kept import dated, scores_of, with_kept
from medscan.scoring import (
    Scored,
    Scorer,
    StackBuilder,
    file_outcomes,
    study_result,
    thumbnail_policy,
)

log = logging.getLogger("medscan.scan")

_TROUBLE = (Reason.DECODER_DIED, Reason.TIMED_OUT)
"""Reasons that put a study into quarantine if they come back night after night."""
Keep = Callable[[StudyResult, str], None]
"""Takes a complete study, and how its decoder died; empty if it did not."""
Decode = Callable[[Iterable[DrawJob]], Generator[tuple[DrawJob, Drawn], None, None]]
"""Draws jobs in their order, and takes each only shortly before it is drawn."""
Recall = Callable[[Task], list[StackResult]]
"""Reads the results of a study that earlier scans have made and that stay; see `Task.earlier`."""
Watch = Callable[[int, int, int, int], None]
"""`watch(done, studies, slices, failures)` after each batch; failures are of files and slices."""


@dataclass(slots=True)
class _Study:
    """A study that is being scanned, with a builder for each stack, by key."""

    task: Task
    builders: dict[str, StackBuilder]
    begun: float = field(default_factory=time.monotonic)
    all_jobs_taken: bool = False

    @property
    def complete(self) -> bool:
        """Whether the decoders have taken all jobs, and no slice remains to be scored."""
        remaining = any(builder.remaining for builder in self.builders.values())
        return self.all_jobs_taken and not remaining


class Pipeline:
    """Scans studies, with a bounded number of slices in memory.

    Parameters
    ----------
    inputs : Inputs
    privacy : Privacy
    pseudonyms : Pseudonyms
    scorers : mapping
        Scorers by hash of their detector.
    room : Room
        Reserves disk space for each study.
    stop : Stop
        No study is begun after it; once it is overdue, those in hand are dropped.
    watchdog : Watchdog
    decode : callable
        See `Decode`.
    keep : callable
        See `Keep`.
    watch : callable or None
        See `Watch`.
    recall : callable
        See `Recall`.
    """

    def __init__(
        self,
        inputs: Inputs,
        privacy: Privacy,
        pseudonyms: Pseudonyms,
        scorers: Mapping[str, Scorer],
        room: Room,
        stop: Stop,
        watchdog: Watchdog,
        decode: Decode,
        keep: Keep,
        watch: Watch | None = None,
        recall: Recall = lambda _: [],
    ) -> None:
        self.inputs, self.privacy, self.pseudonyms = inputs, privacy, pseudonyms
        self.scorers, self.room = scorers, room
        self.stop, self.watchdog, self.keep, self.watch = stop, watchdog, keep, watch
        self.decode, self.recall = decode, recall
        self.studies: dict[str, _Study] = {}
        self.further: deque[DrawJob] = deque()
        self.total = self.done = self.slices = self.failed = 0

    def run(self, tasks: Sequence[Task]) -> None:
        """Scan studies until all are done or something stops the scan; `stop` says what."""
        self.total = len(tasks)
        try:
            self._run_jobs(self._jobs(tasks))
            while self.further:
                self._run_jobs(self._further_jobs())
        except StoppedError:
            self.studies.clear()  # the next scan scans them from the start
        except LedgerError:  # a DiskError, but the caller mends it with a new ledger
            raise
        except (DeviceError, DiskError) as error:
            self.stop.failure = str(error)

    def _run_jobs(self, jobs: Iterator[DrawJob]) -> None:
        with closing(self.decode(jobs)) as drawn_jobs:
            for job, drawn in drawn_jobs:
                self.stop.check_overdue()
                self._score_drawn(job, drawn)
        # Slices of the last studies wait in batches that never filled.
        for scorer in self.scorers.values():
            self._record_scores(scorer.flush())

    def _further_jobs(self) -> Iterator[DrawJob]:
        """Yield the jobs of slices that were passed over, and that a flag may depend on."""
        while self.further:
            yield self.further.popleft()

    def _jobs(self, tasks: Sequence[Task]) -> Iterator[DrawJob]:
        """Yield the jobs of one study after another.

        The decoders pull from here, ahead of what is scored: this is where a scan stops between
        studies, for then the jobs end and all studies begun are finished.
        """
        for task in tasks:
            yield from self._further_jobs()
            self.stop.failure = self.stop.failure or self.room.reserve(task)
            if self.stop:
                return
            key, builders = task.study.key, []
            with self._isolating(task):
                builders = [self._builder(task, *entry) for entry in task.stacks]
                self.studies[key] = _Study(task, {b.stack.key: b for b in builders})
            for builder in builders:
                yield from builder.jobs(self.inputs.max_file_bytes, key, task.companions)
            if key in self.studies:  # not so if making the builders raised
                self.studies[key].all_jobs_taken = True
                # Its slices may all be scored already, or it has none.
                self._finish_if_complete(key)

    def _builder(
        self, task: Task, series: Series, stack: Stack, detector: Detector
    ) -> StackBuilder:
        model = self.scorers[detector.digest].model
        square = model.square
        privacy = self.privacy
        thumbnails = thumbnail_policy(
            series.modality, stack, wanted=privacy.thumbnails, burned_in=privacy.burned_in
        )
        return StackBuilder(
            series,
            stack,
            detector,
            square.size,
            square.grid,
            square.patch,
            thumbnails,
            task.assumed.get(stack.key, ()),
            model.computed,
            self.inputs.every_mm,
            square.tile,
        )

    def _score_drawn(self, job: DrawJob, drawn: Drawn) -> None:
        self.watchdog.feed("slices are scored")
        builder = self.studies[job.study].builders[job.stack.key]
        scorer = self.scorers[builder.detector.digest]
        for index, item in enumerate(drawn, job.first):
            if isinstance(item, FileError):
                builder.fail(index, item)
                self.failed += 1
            elif item.background:
                builder.skip(index)
            else:
                builder.keep_image(index, item)
                self._record_scores(scorer.add((job.study, builder, index), item.image))
        self._finish_if_complete(job.study)
        self.watchdog.feed("slices are decoded")

    def _record_scores(self, results: Iterator[Scored]) -> None:
        """Give results to the stacks they belong to: batches hold slices of several studies."""
        for scored in results:
            self.stop.check_overdue()
            study, builder, index = scored.tag
            builder.add_score(index, scored.score, scored.heatmap, scored.distance)
            self.slices += 1
            self._finish_if_complete(study)
        if self.watch is not None:
            self.watch(self.done, self.total, self.slices, self.failed)

    def _finish_if_complete(self, key: str) -> None:
        """Keep the result of a study if none of its slices remains."""
        study = self.studies.get(key)
        if study is None or not study.complete:
            return
        # Removed first: a mistake while it is finished must not finish it twice.
        del self.studies[key]
        with self._isolating(study.task):
            if self._asks_further(study):
                self.studies[key] = study
            else:
                self._finish(study)
        self.watchdog.feed("slices are decoded")

    def _asks_further(self, study: _Study) -> bool:
        """Ask for slices that were passed over and that the study's flag may depend on."""
        key, companions = study.task.study.key, study.task.companions
        asked = [
            builder.further_jobs(self.inputs.max_file_bytes, key, companions)
            for builder in study.builders.values()
        ]
        self.further += chain(*asked)  # once all are there: of a study given up, none
        return not study.complete

    def _finish(self, study: _Study) -> None:
        task, outcomes = study.task, file_outcomes(study.builders.values())
        if self._is_gone(outcomes):
            return
        spent = time.monotonic() - study.begun
        stacks = [builder.result(spent, self.pseudonyms) for builder in study.builders.values()]
        stacks = dated(stacks, task.asked)
        failures = (o.detail for o in outcomes if o.reason in _TROUBLE)
        outcomes = [*task.unused_outcomes(), *outcomes]
        self._keep_result(task, stacks, outcomes, next(failures, ""))

    def _keep_result(
        self,
        task: Task,
        stacks: list[StackResult],
        outcomes: Sequence[Outcome],
        decoder_failure: str = "",
    ) -> None:
        new = {stack.key for stack in stacks}
        stacks = with_kept(stacks, self.recall(task))
        work = self._work(task, outcomes, stacks)
        result = study_result(task.study, stacks, task.skipped_stacks(), self.pseudonyms, work)
        kept = tuple(stack.key for stack in stacks if stack.key not in new)
        self.keep(replace(result, mark=Mark(kept=kept)), decoder_failure)
        self.room.mark_written(task)
        self.done += 1

    @contextmanager
    def _isolating(self, task: Task) -> Iterator[None]:
        """Record a study as failed if a bug of medscan raises inside; go on with the others.

        The one place that catches every exception: a night's scan must not end because of a bug
        that one odd study brings to light. Errors that medscan raises on purpose pass.
        """
        try:
            yield
        except MedscanError:
            raise
        except Exception:
            log.exception("study given up", extra={"study": task.study.key})
            why = "medscan made a mistake with its study; the log says where"
            files = task.study.files()
            self._keep_result(task, [], [Outcome(file, Reason.CORRUPT, why) for file in files])

    def _is_gone(self, outcomes: Sequence[Outcome]) -> bool:
        """Whether files cannot be read because their archive is no longer mounted.

        The scan stops then: results full of failures would replace good ones.
        """
        unreadable = (o for o in outcomes if o.reason is Reason.UNREADABLE)
        root = next((o.file.root for o in unreadable if not has_entries(o.file.root)), None)
        if root is not None:
            self.stop.failure = f"{root} is gone, or empty: it was there when the scan began"
        return root is not None

    def _work(self, task: Task, outcomes: Sequence[Outcome], stacks: Sequence[StackResult]) -> Work:
        path = self.pseudonyms.path
        by_file = sorted(outcomes, key=lambda outcome: outcome.file)
        rows = [[path(o.file.path), str(o.reason), o.detail] for o in by_file]
        root = self.pseudonyms.root(task.study.files()[0])
        scores = scores_of(stacks)
        return Work(task.content, task.maker, root, self.inputs.tools, rows, scores)
