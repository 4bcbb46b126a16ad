"""The options of a scan, in five groups; each part of medscan is given the groups it needs."""

from __future__ import annotations

import datetime
import errno
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path

from medscan import __version__
from medscan.archive import NOTHING, Stated
from medscan.choices import (
    FILE_TIMEOUT_S,
    MAX_FILE_BYTES,
    Bounds,
    Order,
    Plane,
    Precision,
    Rescan,
    RuntimeName,
    Shard,
)
from medscan.detector import Detector
from medscan.errors import UsageError
from medscan.outputs import check_history, check_ledger, check_log, check_worklist, keep_apart

DECODERS = ("pydicom", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls", "pillow", "SimpleITK")
"""Packages whose version decides whether a file can be read."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is read, which detectors score it, and how much time and memory one file may take.

    Parameters
    ----------
    roots : tuple of Path
        Folders or files of the archive.
    detectors : tuple of (Path, Detector)
    named : bool
        Whether the user named the detectors; see `medscan.routing.route`.
    dropped_detectors : tuple of str
        Names of detectors whose earlier scores are dropped, unless this scan gives them again.
    plane : Plane or None
        Plane that volume files are cut in; None: the one that all detectors agree on.
    shard : Shard or None
        Part of the archive to scan; None: all of it.
    settle_s : float
        Studies with a file modified within this many seconds are left for the next scan.
    paranoid : bool
        Compare files by content instead of size and modification time.
    file_timeout_s : float
        Longest time for reading or decoding one file.
    max_file_bytes : int
        Bytes that one file may have, unpack to or be decoded to.
    max_file_planes, max_study_planes, min_side : int
        Most planes of one file and of one study, and fewest rows and columns of a plane.
    stated : Stated
        What the user states of all images that are not DICOM.
    left_out : tuple of (str, str)
        Keywords and words: a series whose header has one is out of scope.
    every_mm : float or None
        Distance up to which slices may be passed over; see `medscan.scoring.first_slices`.
    """

    roots: tuple[Path, ...] = ()
    detectors: tuple[tuple[Path, Detector], ...] = ()
    named: bool = False
    dropped_detectors: tuple[str, ...] = ()
    plane: Plane | None = None
    shard: Shard | None = None
    settle_s: float = 0.0
    paranoid: bool = False
    file_timeout_s: float = FILE_TIMEOUT_S
    max_file_bytes: int = MAX_FILE_BYTES
    max_file_planes: int = Bounds().file_planes
    max_study_planes: int = Bounds().study_planes
    min_side: int = Bounds().side
    stated: Stated = NOTHING
    left_out: tuple[tuple[str, str], ...] = ()
    every_mm: float | None = None

    @property
    def tools(self) -> str:
        """Versions of the readers, and limits: what decides whether a file can be read."""
        return f"{_versions()}, {self.max_file_bytes} bytes, {self.file_timeout_s} s"

    @property
    def bounds(self) -> Bounds:
        """How much one file and one study may hold."""
        return Bounds(self.max_file_planes, self.max_study_planes, self.min_side)

    @property
    def cut_plane(self) -> Plane | None:
        """Plane to cut volumes in: `plane`, else the one that all detectors agree on."""
        planes = {detector.domain.plane for _, detector in self.detectors}
        if self.plane is not None or len(planes) != 1:
            return self.plane
        plane = planes.pop()
        return Plane(plane) if plane else None

    def check(self) -> None:
        """Refuse archives that do not exist, and invalid limits.

        Raises
        ------
        UsageError
            If one is found.
        """
        for root in self.roots:
            try:
                os.stat(root)  # noqa: PTH116 - Path.exists() hides why it failed
            except OSError as error:
                why = "does not exist" if error.errno == errno.ENOENT else f"({error.strerror})"
                raise UsageError(f"{root} {why}; name a folder or file to scan") from error
        if not 0 < self.file_timeout_s < math.inf:
            raise UsageError(f"--file-timeout {self.file_timeout_s:g}: a number of seconds above 0")
        if self.max_file_bytes <= 0:
            raise UsageError("--max-file-gib: a number of GiB above 0")
        if min(self.max_file_planes, self.max_study_planes, self.min_side) < 1:
            raise UsageError(
                "--max-file-planes, --max-study-planes, --min-side: whole numbers above 0"
            )
        if self.every_mm is not None and not 0 < self.every_mm < math.inf:
            raise UsageError(f"--every {self.every_mm:g}: a number of millimetres above 0")
        if not 0 <= self.settle_s < math.inf:
            raise UsageError(f"--settle {self.settle_s:g}: 0, or a time such as 15m")


@cache
def _versions() -> str:
    """Return the versions; cached, since a look-up takes milliseconds and every study needs it."""
    return ", ".join([f"medscan {__version__}", *(f"{name} {version(name)}" for name in DECODERS)])


@dataclass(frozen=True, slots=True)
class Compute:
    """Device, precision and processes that a scan runs with.

    Parameters
    ----------
    device : str
        auto, cpu, cuda or cuda:N.
    precision : Precision
    batch_size : int or None
        Slices per batch; None: chosen for the device.
    workers : int
        Processes that read headers and decode; at least one does.
    runtime : RuntimeName
    """

    device: str = "auto"
    precision: Precision = Precision.AUTO
    batch_size: int | None = None
    workers: int = 1
    runtime: RuntimeName = RuntimeName.AUTO

    def precision_of(self, detector: Detector) -> Precision:
        """Return the precision that a detector is computed in; see `medscan.chosen`."""
        if self.precision is not Precision.AUTO:
            return self.precision
        return Precision(detector.precision or Precision.FP32)


@dataclass(frozen=True, slots=True)
class Privacy:
    """Which identities and thumbnails results may hold.

    Parameters
    ----------
    identify : bool
        Write PatientID, AccessionNumber, descriptions and paths unchanged.
    hash_paths : bool or None
        Write hashes in place of names in paths; None: yes, unless `identify`.
    thumbnails : bool
        Keep thumbnails of the slices with the highest scores.
    burned_in : bool
        Keep thumbnails even where pixels may hold text.
    """

    identify: bool = False
    hash_paths: bool | None = None
    thumbnails: bool = True
    burned_in: bool = False

    @property
    def hashes_paths(self) -> bool:
        """Whether names in paths are hashed."""
        return not self.identify if self.hash_paths is None else self.hash_paths


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is scanned, and in which order.

    Parameters
    ----------
    until : datetime.time or None
        Local time after which no further study is begun.
    max_studies : int or None
        Largest number of studies to scan; None: all.
    order : Order
    rescan : Rescan
    """

    until: datetime.time | None = None
    max_studies: int | None = None
    order: Order = Order.PATH
    rescan: Rescan = Rescan.NONE

    def check(self) -> None:
        """Raise UsageError for a limit below one study."""
        if self.max_studies is not None and self.max_studies < 1:
            raise UsageError(f"--max-studies {self.max_studies}: a whole number above 0")


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files that a scan writes.

    Parameters
    ----------
    out : Path
        The results file.
    ledger, key_file : Path or None
        None: beside the results.
    accounting, log_file, history : Path or None
        None: not written.
    prune_s : float or None
        Seconds of absence after which a result is dropped; None: never.
    link_template : str or None
        See `medscan.links`; None: that of the results before, empty: none.
    command : str
        The command line as results.h5 records it.
    """

    out: Path
    ledger: Path | None = None
    key_file: Path | None = None
    accounting: Path | None = None
    log_file: Path | None = None
    history: Path | None = None
    prune_s: float | None = None
    link_template: str | None = None
    command: str = "medscan scan"

    @property
    def key_path(self) -> Path:
        """File with the secret key of the pseudonyms: `key_file`, or beside the results."""
        return self.key_file or self.out.with_name(self.out.name + ".key")

    @property
    def ledger_path(self) -> Path:
        """The ledger file: `ledger`, or beside the results."""
        return self.ledger or self.out.with_name(self.out.name + ".ledger")

    @property
    def parts(self) -> Path:
        """Folder of finished studies that are not in the results file yet."""
        return parts_folder(self.out)

    @property
    def damaged(self) -> Path:
        """Folder of files that were found damaged and set aside."""
        return self.out.with_name(self.out.name + ".damaged")

    @property
    def worklists(self) -> list[Path]:
        """The table and the page beside the results."""
        return [self.out.with_suffix(suffix) for suffix in (".csv", ".html")]

    @property
    def by_option(self) -> dict[str, Path | None]:
        """Every file that the scan may write but the worklists, by the option that names it."""
        return {
            "--out": self.out,
            "--ledger": self.ledger_path,
            "--key-file": self.key_path,
            "--accounting": self.accounting,
            "--log-file": self.log_file,
            "--history": self.history,
        }

    @property
    def files(self) -> list[Path]:
        """Every file that the scan writes."""
        return [*filter(None, self.by_option.values()), *self.worklists]

    def own_path_test(self) -> Callable[[Path], bool]:
        """Return a function that tells whether a path is one that this scan writes."""
        out = self.out.resolve()
        folders = {self.parts.resolve(), self.damaged.resolve()}
        files = {path.resolve() for path in self.files}

        def is_own(path: Path) -> bool:
            if path.parent == out.parent and path.name.removeprefix(".").startswith(out.name):
                return True
            # Half-written files, and files that accompany an output, count as the output itself.
            name = re.sub(r"^\.(.{1,255})\.[0-9]{1,20}\.part$", r"\1", path.name)
            for suffix in ("-journal", ".damaged", ".lock"):
                name = name.removesuffix(suffix)
            return not folders.isdisjoint(path.parents) or path.parent / name in files

        return is_own

    def check(self) -> None:
        """Refuse outputs that cannot be written, or would overwrite something else.

        Raises
        ------
        UsageError
            If there is one.
        """
        if self.parts.is_symlink() or (self.parts.exists() and not self.parts.is_dir()):
            raise UsageError(f"{self.parts} is not a folder; remove it, or choose another --out")
        if self.out.suffix in (".csv", ".html"):
            raise UsageError(f"{self.out}: the worklist is written there; end --out in .h5")
        if self.prune_s is not None and not 0 <= self.prune_s < math.inf:
            raise UsageError(f"--prune {self.prune_s:g}: 0, or a time such as 30d")
        if self.accounting is not None and self.accounting.suffix.lower() != ".csv":
            raise UsageError(f"--accounting {self.accounting}: end it in .csv")
        self._check_others()

    def _check_others(self) -> None:
        """Refuse outputs that cannot be written, are written twice, or belong to others."""
        for option, path in self.by_option.items():
            if path is not None:
                _check_output(path, option)
        for worklist in self.worklists:  # by itself: links are replaced, even two to one file
            keep_apart({"worklist": worklist, **self.by_option})
            if not self.out.exists():  # else it is its own, which somebody may have edited
                check_worklist(worklist)
        # The ledger beside the results has a name of medscan's own: its content may be damaged.
        if self.ledger is not None:
            check_ledger(self.ledger)
        if self.log_file is not None:
            check_log(self.log_file)
        if self.history is not None:
            check_history(self.history)


def parts_folder(out: Path) -> Path:
    """Return the folder of finished studies that are not in a results file yet."""
    return out.with_name(out.name + ".parts")


def _check_output(path: Path, option: str) -> None:
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; make it, or choose another {option}")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UsageError(f"{path} is not a regular file; choose another {option}")


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """All options of `medscan scan`; see medscan-scan(1)."""

    inputs: Inputs
    outputs: Outputs
    compute: Compute = field(default_factory=Compute)
    privacy: Privacy = field(default_factory=Privacy)
    budget: Budget = field(default_factory=Budget)

    @property
    def identity(self) -> str:
        """The options that change every result, as text.

        Part of the hash `Task.content`: changing the text rescans every study.
        """
        privacy, precision = self.privacy, self.compute.precision
        if precision is Precision.AUTO:  # then each stack tells its own; see `Task.asked`
            precision = Precision.FP32
        pictures = f"{privacy.thumbnails} {privacy.burned_in}"
        every = "" if self.inputs.every_mm is None else f" every {self.inputs.every_mm:g} mm"
        return f"{precision} {pictures} {privacy.identify} {privacy.hashes_paths}{every}"

    def check(self) -> None:
        """Refuse options that cannot work, before anything is written.

        Raises
        ------
        UsageError
            If there is one.
        """
        self.inputs.check()
        self.budget.check()
        self.outputs.check()
        read = [root for root in self.inputs.roots if root.is_file()]
        keep_apart(self.outputs.by_option, [*read, *(path for path, _ in self.inputs.detectors)])
        if self.inputs.shard and self.outputs.key_file is None:
            raise UsageError("--shard needs --key-file: one file, the same for all shards")
