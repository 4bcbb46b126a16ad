"""A detector in memory, ready to score."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import ArrayLike

from medscan import detector as files
from medscan.api.checked import checked
from medscan.api.images import CLEAR, draw, find_stack, read_planes, stack_of
from medscan.api.scores import Scores
from medscan.api.values import PathLike, compute_of, path_of
from medscan.archive import Bucket
from medscan.choices import FILE_TIMEOUT_S, MAX_FILE_BYTES
from medscan.chosen import read_detectors
from medscan.errors import FileError, UsageError
from medscan.imaging import Slice
from medscan.reading import Decoders
from medscan.scoring import (
    Lanes,
    Scored,
    Scorer,
    StackBuilder,
    describe,
    file_outcomes,
    loaded_scorers,
)

if TYPE_CHECKING:
    from medscan.archive import Series, Stack


class Detector:
    """A fitted detector, loaded on a device; make one with `load`.

    One thread scores at a time; others wait.
    """

    def __init__(self, path: Path, facts: files.Detector, scorer: Scorer, workers: int) -> None:
        self._path, self._facts, self._workers = path, facts, workers
        self._model, self._batch_size = scorer.model, scorer.batch_size
        self._lock = threading.Lock()

    @classmethod
    @checked
    def load(
        cls,
        name_or_path: PathLike,
        *,
        device: str = "auto",
        precision: str = "auto",
        runtime: str = "auto",
        batch_size: int | None = None,
        workers: int = 1,
        target_fpr: float | None = None,
    ) -> Self:
        """Load a detector and its backbone.

        Parameters
        ----------
        name_or_path : str or path
            A detector file, or the name of one that is shipped or in $MEDSCAN_WEIGHTS.
        device : str
            auto, cpu, cuda or cuda:N.
        precision : str
            auto, fp32, bf16, fp16 or int8.
        runtime : str
            auto, torch or openvino: the library that computes the model.
        batch_size : int, optional
            Slices per batch; None: as `medscan scan` chooses it for the device. Scores may differ
            in their last digits at another batch size.
        workers : int
            Processes that read files; at least one does.
        target_fpr : float, optional
            False-positive rate to place the thresholds for; None: the detector's own.

        Raises
        ------
        medscan.errors.DetectorError
            If there is no such detector, or its file is damaged.
        medscan.errors.WeightsError
            If its backbone is not on this machine, or is damaged.
        medscan.errors.DeviceError
            If it does not fit into the device's memory.
        medscan.errors.UsageError
            If an argument is none of the above.
        """
        compute = compute_of(device, precision, batch_size, workers, runtime)
        ((path, facts),) = read_detectors([path_of(name_or_path)], target_fpr, compute)
        with loaded_scorers([(path, facts)], compute) as scorers:
            return cls(path, facts, scorers[facts.digest], workers)

    def __repr__(self) -> str:
        facts = self._facts
        return f"<medscan.Detector {self.name}: {facts.domain}, {facts.method} on {facts.backbone}>"

    @property
    def name(self) -> str:
        """Name in results: the stem of its file."""
        return self._facts.name

    @property
    def domain(self) -> str:
        """Images that it is for, such as "BRAIN FLAIR MR axial"."""
        return str(self._facts.domain)

    @property
    def threshold(self) -> float:
        """Score from which a single slice is flagged; NaN without calibration."""
        return self._facts.calibration.threshold

    @property
    def info(self) -> dict[str, Any]:
        """What results record of it: method, backbone, window, normals and more."""
        return describe(self._facts)

    @checked
    def score(
        self,
        image: PathLike | ArrayLike,
        *,
        stack: str | None = None,
        axes: str | None = None,
        spacing: tuple[float, float] | None = None,
    ) -> Scores:
        """Score one stack of slices: a series, a volume, a picture, or an array.

        Parameters
        ----------
        image : str, path or array
            A file or folder, which is read as `medscan scan` reads it: the same slices, windowed
            by the same values, with scores equal to the bit at one batch size. What a header says
            against the detector's domain ends in an error; what it does not say is assumed.

            Or numbers: rows downwards and columns to the right, as displayed, and slices in the
            order of the stack. (H, W) is one slice and (N, H, W) a stack; anything else needs
            `axes`. Values are those after rescale (of CT Hounsfield units), and are windowed by the
            detector's rule as one stack of the modality that it is for; 8 bits (uint8) are a
            picture, drawn as a PNG file of them is. NaN and infinite pixels are the darkest.
        stack : str, optional
            Key of the stack, where a path holds several.
        axes : str, optional
            A letter for each axis of the array: H and W for rows and columns, N for slices, C for
            colours (uint8), such as NHW, HWC or NCHW.
        spacing : (float, float), optional
            Of an array: millimetres between rows, then between columns; None: pixels are square.

        Raises
        ------
        medscan.errors.UsageError
            If the path holds nothing that the detector is for, or several stacks; or if the array
            is no image, or may be meant in several ways.
        medscan.errors.FileError
            If no slice can be read.
        medscan.errors.DeviceError
            If the device is lost, or has no memory for a single slice.
        """
        if isinstance(image, (str, os.PathLike)):
            if axes is not None or spacing is not None:
                raise UsageError("axes and spacing are of arrays: a file states its own")
            return self._score_path(path_of(image), stack)
        if stack is not None:
            raise UsageError("stack chooses from what a path holds: an array is one stack")
        return self._score_array(image, axes, spacing)

    def _score_path(self, path: Path, key: str | None) -> Scores:
        task, series, stack, failures = find_stack(
            path, (self._path, self._facts), key, self._workers
        )
        builder = self._builder(series, stack, task.assumed.get(stack.key, ()))
        with Decoders(self._workers, FILE_TIMEOUT_S) as decoders:
            jobs = builder.jobs(MAX_FILE_BYTES, task.study.key, task.companions)
            self._fill(builder, (item for _, drawn in decoders.draw(jobs) for item in drawn))
        if len(builder.errors) == len(stack.frames):
            error = builder.errors[0]
            raise type(error)(f"{path}: {error}") from error
        failed = (o for o in file_outcomes([builder]) if o.bucket is Bucket.FAILED)
        failures |= {o.file.path: f"{o.reason}: {o.detail}" for o in failed}
        return Scores(builder.result(0.0, CLEAR), failures)

    def _score_array(
        self, array: ArrayLike, axes: str | None, spacing: tuple[float, float] | None
    ) -> Scores:
        planes, picture = read_planes(array, axes)
        modality = "" if picture else self._facts.domain.modality
        series, stack = stack_of(planes, spacing, modality)
        builder = self._builder(series, stack)
        rule = self._facts.window
        drawn = draw(planes, stack, rule, modality, builder.size, picture=picture)
        self._fill(builder, drawn)
        return Scores(builder.result(0.0, CLEAR))

    def _builder(self, series: Series, stack: Stack, assumed: tuple[str, ...] = ()) -> StackBuilder:
        square, why = self._model.square, "not asked for"
        sizes, computed = (square.size, square.grid, square.patch), self._model.computed
        facts = self._facts
        tile = square.tile
        return StackBuilder(series, stack, facts, *sizes, why, assumed, computed, tile=tile)

    def _fill(self, builder: StackBuilder, drawn: Iterable[Slice | FileError]) -> None:
        """Score the slices of a stack, in their order, in batches as a scan makes them."""

        def record(results: Iterator[Scored]) -> None:
            for scored in results:
                builder.add_score(scored.tag, scored.score, scored.heatmap, scored.distance)

        with self._lock, Lanes(self._model.device) as lanes:
            scorer = Scorer(self._facts, self._model, self._batch_size, lanes)
            for index, item in enumerate(drawn):
                if isinstance(item, FileError):
                    builder.fail(index, item)
                elif item.background:
                    builder.skip(index)
                else:
                    record(scorer.add(index, item.image))
            record(scorer.flush())
