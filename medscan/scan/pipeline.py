"""Studies in, results out: slices are drawn ahead, scored in batches and put together again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from medscan.archive import Outcome, Pseudonyms, Reason, Series, Stack
from medscan.detector import Detector
from medscan.errors import DeviceError, DiskError, FileError, LedgerError, MedscanError
from medscan.options import Inputs, Privacy
from medscan.planning import Task
from medscan.reading import CHUNK, DrawJob, Drawn
from medscan.results import StackResult, StudyResult, Work
from medscan.scan.disk import Room, is_there
from medscan.scan.guard import Stop, Watchdog
from medscan.scoring import (
    Scored,
    Scorer,
    StackBuilder,
    file_outcomes,
    study_result,
    thumbnail_policy,
)

log = logging.getLogger("medscan.scan")

Keep = Callable[[StudyResult, str], None]
"""Takes a study that is complete, and what became of its decoder if that died."""
Decode = Callable[[Iterable[DrawJob]], Generator[tuple[DrawJob, Drawn], None, None]]
"""Draws jobs in their order, which it takes only as fast as they are drawn."""
Watch = Callable[[int, int, int, int], None]
"""`watch(done, studies, slices, failures)` after each batch; failures are of files and slices."""


@dataclass(slots=True)
class _Study:
    """A study in hand."""

    task: Task
    builders: dict[str, StackBuilder]
    begun: float = field(default_factory=time.monotonic)
    fed: bool = False

    @property
    def complete(self) -> bool:
        """Whether all slices have been handed out and have an end."""
        return self.fed and not any(builder.remaining for builder in self.builders.values())


class Pipeline:
    """Scans studies, a bounded number of slices at a time.

    Parameters
    ----------
    inputs : Inputs
    privacy : Privacy
    pseudonyms : Pseudonyms
    scorers : mapping
        By hash of their detector.
    room : Room
        Disk space that the studies in hand will need.
    stop : Stop
        Takes effect between studies.
    watchdog : Watchdog
    decode : callable
    keep : callable
    watch : callable or None
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
    ) -> None:
        self.inputs, self.privacy, self.pseudonyms = inputs, privacy, pseudonyms
        self.scorers, self.room = scorers, room
        self.stop, self.watchdog, self.keep, self.watch = stop, watchdog, keep, watch
        self.decode = decode
        self.studies: dict[str, _Study] = {}
        self.asked = self.done = self.slices = self.failed = 0

    def run(self, tasks: Sequence[Task]) -> None:
        """Scan studies until there are no more or something stops it; `stop` says what."""
        self.asked = len(tasks)
        jobs = self.decode(self._jobs(tasks))
        try:
            for job, drawn in jobs:
                self._take(job, drawn)
            for scorer in self.scorers.values():
                self._put(scorer.flush())
        except LedgerError:
            raise
        except (DeviceError, DiskError) as error:
            self.stop.failure = str(error)
        finally:
            jobs.close()

    def _jobs(self, tasks: Sequence[Task]) -> Iterator[DrawJob]:
        """Jobs study by study."""
        for task in tasks:
            self.stop.failure = self.stop.failure or self.room.lack(task)
            if self.stop:
                return
            key, builders = task.study.key, []
            with self._isolating(task):
                builders = [self._builder(*entry) for entry in task.stacks]
                self.studies[key] = _Study(task, {b.stack.key: b for b in builders})
            for builder in builders:
                yield from self._stack_jobs(task, builder)
            if key in self.studies:
                self.studies[key].fed = True
                self._finish_if_complete(key)

    def _builder(self, series: Series, stack: Stack, detector: Detector) -> StackBuilder:
        backbone = self.scorers[detector.digest].method.backbone
        privacy = self.privacy
        thumbnails = thumbnail_policy(
            series.modality, stack, wanted=privacy.thumbnails, burned_in=privacy.burned_in
        )
        return StackBuilder(
            series, stack, detector, backbone.size, backbone.grid, backbone.patch, thumbnails
        )

    def _stack_jobs(self, task: Task, builder: StackBuilder) -> Iterator[DrawJob]:
        frames = builder.stack.frames
        for first in range(0, len(frames), CHUNK):
            yield DrawJob(
                builder.stack,
                first,
                frames[first : first + CHUNK],
                builder.size,
                builder.detector.window,
                builder.series.modality,
                self.inputs.max_file_bytes,
                task.study.key,
                task.companions,
            )

    def _take(self, job: DrawJob, drawn: Drawn) -> None:
        self.watchdog.fed("slices are scored")
        builder = self.studies[job.study].builders[job.stack.key]
        scorer = self.scorers[builder.detector.digest]
        for place, item in enumerate(drawn, job.first):
            if isinstance(item, FileError):
                builder.fail(place, item)
                self.failed += 1
            elif item.background:
                builder.skip(place)
            else:
                builder.keep_image(place, item)
                self._put(scorer.add((job.study, builder, place), item.image))
        self._finish_if_complete(job.study)
        self.watchdog.fed("slices are decoded")

    def _put(self, found: Iterator[Scored]) -> None:
        for scored in found:
            study, builder, place = scored.tag
            builder.add_score(place, scored.score, scored.heatmap)
            self.slices += 1
            self._finish_if_complete(study)
        if self.watch is not None:
            self.watch(self.done, self.asked, self.slices, self.failed)

    def _finish_if_complete(self, key: str) -> None:
        """Hand on a study all of whose slices have an end."""
        study = self.studies.get(key)
        if study is None or not study.complete:
            return
        del self.studies[key]
        with self._isolating(study.task):
            self._finish(study)
        self.watchdog.fed("slices are decoded")

    def _finish(self, study: _Study) -> None:
        task, outcomes = study.task, file_outcomes(study.builders.values())
        if self._is_gone(outcomes):
            return
        spent = time.monotonic() - study.begun
        stacks = [builder.result(spent, self.pseudonyms) for builder in study.builders.values()]
        died = (o.detail for o in outcomes if o.reason is Reason.DECODER_DIED)
        self._hand_on(task, stacks, [*task.out_of_scope(), *outcomes], next(died, ""))

    def _hand_on(
        self, task: Task, stacks: list[StackResult], outcomes: Sequence[Outcome], died: str = ""
    ) -> None:
        work = self._work(task, outcomes)
        found = study_result(task.study, stacks, task.skipped(), self.pseudonyms, work)
        self.keep(found, died)
        self.room.wrote(task)
        self.done += 1

    @contextmanager
    def _isolating(self, task: Task) -> Iterator[None]:
        """Let a mistake of medscan's own cost the study that it was made with, and no other."""
        try:
            yield
        except MedscanError:
            raise
        except Exception:
            log.exception("study given up", extra={"study": task.study.key})
            why = "medscan made a mistake with its study; the log says where"
            files = task.study.files()
            self._hand_on(task, [], [Outcome(file, Reason.CORRUPT, why) for file in files])

    def _is_gone(self, outcomes: Sequence[Outcome]) -> bool:
        """Whether files cannot be read because their archive is no longer there.

        Results of what is not there would replace better ones.
        """
        unread = (o for o in outcomes if o.reason is Reason.UNREADABLE)
        root = next((o.file.root for o in unread if not is_there(o.file.root)), None)
        if root is not None:
            self.stop.failure = f"{root} is gone, or empty: it was there when the scan began"
        return root is not None

    def _work(self, task: Task, outcomes: Sequence[Outcome]) -> Work:
        path = self.pseudonyms.path
        found = sorted(outcomes, key=lambda outcome: outcome.file)
        rows = [[path(o.file.path), str(o.reason), o.detail] for o in found]
        root = self.pseudonyms.root(task.study.files()[0])
        return Work(task.content, task.maker, root, self.inputs.tools, rows)
