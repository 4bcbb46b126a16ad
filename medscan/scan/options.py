"""What a scan is asked for, and what it says at its end."""

from __future__ import annotations

import datetime
import errno
import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medscan import __version__, results
from medscan.archive import Plane, Shard
from medscan.detector import Detector
from medscan.errors import UsageError
from medscan.scan.accounting import Entry
from medscan.scan.plan import Order, Rescan
from medscan.scan.profile import Profile

log = logging.getLogger("medscan.scan")

DECODERS = ("pydicom", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls", "pillow", "SimpleITK")


class Engine(StrEnum):
    """What a scan runs on."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """What `medscan scan` is asked for; see medscan-scan(1)."""

    roots: tuple[Path, ...]
    out: Path
    detectors: tuple[tuple[Path, Detector], ...]
    named: bool
    device: str = "auto"
    precision: str = "fp32"
    batch_size: int | None = None
    workers: int = 1
    plane: Plane | None = None
    ledger: Path | None = None
    file_timeout_s: float = 120.0
    max_file_bytes: int = 8 << 30
    settle_s: float = 0.0
    accounting: Path | None = None
    thumbnails: bool = True
    burned_in: bool = False
    identify: bool = False
    hash_paths: bool | None = None
    key_file: Path | None = None
    until: datetime.time | None = None
    max_studies: int | None = None
    order: Order = Order.PATH
    rescan: Rescan = Rescan.NONE
    paranoid: bool = False
    prune_s: float | None = None
    log_file: Path | None = None
    shard: Shard | None = None
    engine: Engine = Engine.LOCAL
    address: str | None = None
    command: str = "medscan scan"

    @property
    def key_path(self) -> Path:
        """The secret key of the pseudonyms, beside the results unless another was named."""
        return self.key_file or self.out.with_name(self.out.name + ".key")

    @property
    def ledger_path(self) -> Path:
        """The ledger beside the results, unless another was named."""
        return self.ledger or self.out.with_name(self.out.name + ".ledger")

    @property
    def parts(self) -> Path:
        """Folder of finished studies that are not in the results file yet."""
        return parts_folder(self.out)

    @property
    def identity(self) -> str:
        """The options that change what a result says; part of every work key."""
        pictures = f"{self.thumbnails} {self.burned_in}"
        return f"{self.precision} {pictures} {self.identify} {self.hashes_paths}"

    @property
    def hashes_paths(self) -> bool:
        """Whether names in paths are hashed: unless told otherwise, where no name is written."""
        return not self.identify if self.hash_paths is None else self.hash_paths

    @property
    def tools(self) -> str:
        """What decides whether a file can be read: limits, and versions of what reads it."""
        return f"{_versions()}, {self.max_file_bytes} bytes, {self.file_timeout_s} s"

    @property
    def worklists(self) -> list[Path]:
        """The table and the page beside the results."""
        return [self.out.with_suffix(suffix) for suffix in (".csv", ".html")]

    @property
    def outputs(self) -> list[Path]:
        """Files that the scan makes."""
        found = [self.out, self.ledger_path, self.key_path]
        return [*found, *self.worklists, *filter(None, (self.accounting, self.log_file))]

    def own(self) -> Callable[[Path], bool]:
        """Tells whether a path is one that this scan itself makes."""
        out, parts = self.out.resolve(), self.parts.resolve()
        outputs = {path.resolve() for path in self.outputs}

        def is_own(path: Path) -> bool:
            if path.parent == out.parent and path.name.removeprefix(".").startswith(out.name):
                return True
            whole = re.sub(r"^\.(.+)\.\d+\.part$", r"\1", path.name)
            for end in ("-journal", ".damaged", ".lock"):
                whole = whole.removesuffix(end)
            return parts in path.parents or path.with_name(whole) in outputs

        return is_own


@cache
def _versions() -> str:
    """Looked up once: it is asked for with every study, and takes milliseconds."""
    return ", ".join([f"medscan {__version__}", *(f"{name} {version(name)}" for name in DECODERS)])


def parts_folder(out: Path) -> Path:
    """Folder of the finished studies that are not in a results file yet."""
    return out.with_name(out.name + ".parts")


@dataclass(slots=True)
class Summary:
    """What a scan did; `medscan scan --json` prints it, but for the entries."""

    files: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    studies: int = 0
    scanned: int = 0
    unchanged: int = 0
    arriving: int = 0
    left: int = 0
    quarantined: int = 0
    stale: int = 0
    absent: int = 0
    pruned: int = 0
    slices: int = 0
    flagged: int = 0
    seconds: float = 0.0
    stopped: str = ""
    failure: str = ""
    notes: list[str] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    out: str = ""
    shard: str = ""
    profile: Profile = field(default_factory=Profile)
    entries: list[Entry] = field(default_factory=list, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = [f.name for f in fields(self) if f.name not in ("entries", "profile")]
        return {name: getattr(self, name) for name in names} | {"profile": self.profile.as_dict()}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note the seconds that a stage takes."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.stages[name] = round(time.monotonic() - started, 3)
            log.info("stage ended", extra={"stage": name, "seconds": self.stages[name]})

    def line(self) -> str:
        """One line for people and cron mails."""
        total = sum(self.files.values())
        counts = ", ".join(f"{n} {bucket}" for bucket, n in self.files.items())
        if self.arriving:
            counts += f"; {self.arriving} studies still arriving"
        if self.stopped and not self.files:
            text = f"stopped ({self.stopped}) while the archive was read; the next scan goes on"
        elif not self.studies:
            image = "none to scan yet" if self.arriving else "none with an image"
            text = f"nothing to scan: {total} files found, {image} ({counts})"
        elif not self.scanned and not self.left:
            text = f"nothing new: {self.studies} studies unchanged; {total} files: {counts}"
        else:
            text = f"{self._work()}; {total} files: {counts}; results in {self.out}"
        text = f"shard {self.shard}: {text}" if self.shard else text
        return "; ".join([text, *self._kept(), *self.notes])

    def _work(self) -> str:
        text = (
            f"{self.scanned} studies scanned ({self.slices} slices in {self.seconds:.0f} s), "
            f"{self.flagged} flagged, {self.unchanged} unchanged"
        )
        if self.stopped:
            text += f", {self.left} left over ({self.stopped})"
        return text

    def _kept(self) -> list[str]:
        """What to know of results that are kept."""
        told = {
            "stale": self.stale,
            "of absent studies": self.absent,
            "dropped": self.pruned,
        }
        found = [f"{count} {what}" for what, count in told.items() if count]
        quarantine = [f"{self.quarantined} studies in quarantine"] * bool(self.quarantined)
        return [*(["results: " + ", ".join(found)] if found else []), *quarantine]


def check_input(options: ScanOptions) -> None:
    """Refuse archives that are not there, and limits that nothing keeps."""
    for root in options.roots:
        try:
            os.stat(root)  # noqa: PTH116 - Path.exists() hides why it failed
        except OSError as error:
            why = "does not exist" if error.errno == errno.ENOENT else f"({error.strerror})"
            raise UsageError(f"{root} {why}; name a folder or file to scan") from error
    _check_limits(options)


def check(options: ScanOptions) -> None:
    """Refuse what cannot work before anything is written."""
    check_input(options)
    _check_engine(options)
    out = options.out
    _check_output(out, "--out")
    if options.parts.is_symlink() or (options.parts.exists() and not options.parts.is_dir()):
        raise UsageError(f"{options.parts} is no folder; remove it, or choose another --out")
    if out.suffix in (".csv", ".html"):
        raise UsageError(f"{out}: the worklist is written there; end --out in .h5")
    if options.shard and options.key_file is None:
        raise UsageError("--shard needs --key-file: one file, the same for all shards")
    if out.exists():
        check_shard(options, results.open(out).shard())
    if options.accounting is not None:
        _check_accounting(options, options.accounting)
    if options.log_file is not None:
        _check_output(options.log_file, "--log-file")


def check_shard(options: ScanOptions, held: str) -> None:
    """Refuse to add one share of an archive to another: its studies would seem to be gone.

    Parameters
    ----------
    options : ScanOptions
    held : str
        The shard that there are results of; empty: of the whole archive.
    """
    if held != str(options.shard or ""):
        told = f"shard {held}" if held else "results without --shard"
        raise UsageError(f"{options.out} holds {told}: scan that again, or choose another --out")


def _check_limits(options: ScanOptions) -> None:
    if not 0 < options.file_timeout_s < math.inf:
        raise UsageError(f"--file-timeout {options.file_timeout_s:g}: a number of seconds above 0")
    if options.max_file_bytes <= 0:
        raise UsageError("--max-file-gib: a number of GiB above 0")
    if options.max_studies is not None and options.max_studies < 1:
        raise UsageError(f"--max-studies {options.max_studies}: a whole number above 0")
    if not 0 <= options.settle_s < math.inf:
        raise UsageError(f"--settle {options.settle_s:g}: 0, or a time such as 15m")


def _check_engine(options: ScanOptions) -> None:
    address = options.address
    if options.engine is not Engine.RAY:
        if address is not None:
            raise UsageError(f"--address {address} is of a Ray cluster: give --engine ray too")
        return
    if find_spec("ray") is None:
        raise UsageError("--engine ray needs Ray: pip install 'medscan[ray]'")
    known = address in (None, "auto", "local")
    if not known and not re.fullmatch(r"[^/\s]+:[0-9]{1,5}", address or ""):
        raise UsageError(f"--address {address}: HOST:PORT of the head, auto or local")


def _check_output(path: Path, option: str) -> None:
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is no folder; make it, or choose another {option}")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UsageError(f"{path} is no regular file; choose another {option}")


def _check_accounting(options: ScanOptions, path: Path) -> None:
    """The table replaces whatever lies there: only what is named like a table may be lost."""
    _check_output(path, "--accounting")
    if path.suffix.lower() != ".csv":
        raise UsageError(f"--accounting {path}: end it in .csv")
    own = [options.out.with_suffix(".csv"), options.ledger_path]
    if path.resolve() in {other.resolve() for other in own}:
        raise UsageError(f"--accounting {path}: the scan itself writes that file")
