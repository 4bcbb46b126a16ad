"""What a scan is asked for, and what it says at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medscan import results
from medscan.archive import Plane
from medscan.detector import Detector
from medscan.errors import UsageError


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
        if not root.exists():
            raise UsageError(f"{root} does not exist; name a folder or file to scan")
    if not options.out.parent.is_dir():
        raise UsageError(f"{options.out.parent} is no folder; make it, or choose another --out")
    if options.out.is_symlink() or (options.out.exists() and not options.out.is_file()):
        raise UsageError(f"{options.out} is no regular file; choose another --out")
    if options.out.exists():
        results.open(options.out)
