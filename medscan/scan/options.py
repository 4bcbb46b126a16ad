"""What a scan is asked for, and what it says at its end."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from medscan import results
from medscan.archive import Plane
from medscan.detector import Detector
from medscan.errors import UsageError

DECODERS = ("pydicom", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls", "pillow", "SimpleITK")


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
    thumbnails: bool = True
    identify: bool = False
    command: str = "medscan scan"

    @property
    def ledger_path(self) -> Path:
        """The ledger beside the results, unless another was named."""
        return self.ledger or self.out.with_name(self.out.name + ".ledger")

    @property
    def parts(self) -> Path:
        """Folder of finished studies that are not in the results file yet."""
        return self.out.with_name(self.out.name + ".parts")

    @property
    def identity(self) -> str:
        """The options that change what a result says; part of every work key."""
        return f"{self.precision} {self.thumbnails} {self.identify}"

    @property
    def tools(self) -> str:
        """What decides whether a file can be read: limits, and versions of the decoders."""
        versions = [f"{name} {version(name)}" for name in DECODERS]
        return ", ".join([*versions, f"{self.max_file_bytes} bytes", f"{self.file_timeout_s} s"])

    def writes(self, path: Path) -> bool:
        """Whether a path is one of the files that this scan itself makes."""
        out = self.out.resolve()
        if path == self.ledger_path.resolve() or self.parts.resolve() in path.parents:
            return True
        reports = (out.with_suffix(".csv").name, out.with_suffix(".html").name)
        name = path.name.removeprefix(".")
        return path.parent == out.parent and (name.startswith(out.name) or name in reports)


@dataclass(slots=True)
class Summary:
    """What a scan did; `medscan scan --json` prints it."""

    files: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    studies: int = 0
    scanned: int = 0
    unchanged: int = 0
    left: int = 0
    slices: int = 0
    flagged: int = 0
    seconds: float = 0.0
    stopped: str = ""
    out: str = ""

    def line(self) -> str:
        """One line for people and cron mails."""
        total = sum(self.files.values())
        counts = ", ".join(f"{n} {bucket}" for bucket, n in self.files.items())
        if not self.studies:
            return f"nothing to scan: {total} files found, none with an image ({counts})"
        if not self.scanned and not self.left:
            return f"nothing new: {self.studies} studies unchanged; {total} files: {counts}"
        text = (
            f"{self.scanned} studies scanned ({self.slices} slices in {self.seconds:.0f} s), "
            f"{self.flagged} flagged, {self.unchanged} unchanged"
        )
        if self.stopped:
            text += f", {self.left} left over ({self.stopped})"
        return f"{text}; {total} files: {counts}; results in {self.out}"


def check(options: ScanOptions) -> None:
    """Refuse what cannot work before anything is written."""
    for root in options.roots:
        try:
            os.stat(root)  # noqa: PTH116 - Path.exists() hides why it failed
        except OSError as error:
            why = "does not exist" if error.errno == errno.ENOENT else f"({error.strerror})"
            raise UsageError(f"{root} {why}; name a folder or file to scan") from error
    out = options.out
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent} is no folder; make it, or choose another --out")
    if out.is_symlink() or (out.exists() and not out.is_file()):
        raise UsageError(f"{out} is no regular file; choose another --out")
    if out.suffix in (".csv", ".html"):
        raise UsageError(f"{out}: the worklist is written there; end --out in .h5")
    if out.exists():
        results.open(out)
