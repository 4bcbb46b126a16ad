"""What each shard of an archive holds, and about how long its scan takes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from typing import Any

from medscan.archive import number_of
from medscan.scan.dry import foreseen_pseudonyms, seconds_a_slice
from medscan.scan.ledger import Ledger
from medscan.scan.load import catalogue_of
from medscan.scan.options import ScanOptions, check_input
from medscan.scan.plan import Task, make_plan


@dataclass(slots=True)
class Share:
    """Of an archive; `seconds` is an estimate."""

    studies: int = 0
    stacks: int = 0
    slices: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Shares:
    """All shares of an archive, the first one first.

    Parameters
    ----------
    shares : list of Share
    seconds_a_slice : float
        Measured on a few slices; 0 where there are none to score.
    """

    shares: list[Share]
    seconds_a_slice: float

    @property
    def imbalance(self) -> float:
        """Slices of the largest share over those of the mean one; 1 where there are none."""
        slices = [share.slices for share in self.shares]
        return max(slices) * len(slices) / sum(slices) if any(slices) else 1.0

    def total(self) -> Share:
        """The whole archive."""
        rows = [asdict(share) for share in self.shares]
        return Share(**{f.name: sum(row[f.name] for row in rows) for f in fields(Share)})

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        count = len(self.shares)
        told = [{"shard": f"{n}/{count}"} | asdict(s) for n, s in enumerate(self.shares, 1)]
        return {
            "shards": told,
            "total": asdict(self.total()),
            "imbalance": round(self.imbalance, 4),
            "seconds_a_slice": self.seconds_a_slice,
        }

    def text(self) -> str:
        """For a terminal: a line a share."""
        count = len(self.shares)
        named = [(f"{n}/{count}", share) for n, share in enumerate(self.shares, 1)]
        lines = [f"{'shard':>11} {'studies':>9} {'stacks':>9} {'slices':>11} {'GiB':>9}  about"]
        lines += [_line(name, share) for name, share in [*named, ("all", self.total())]]
        return "\n".join([*lines, f"the largest share has {self.imbalance:.2f} times the mean"])


def _line(name: str, share: Share) -> str:
    counts = f"{share.studies:9} {share.stacks:9} {share.slices:11}"
    return f"{name:>11} {counts} {share.bytes / 2**30:9.2f}  {_clock(share.seconds)}"


def _clock(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {left} s"


def divide(options: ScanOptions, count: int) -> Shares:
    """Find out what the shares of an archive would be, as if nothing of it were scanned yet.

    Nothing is written. The results file of the options is not looked at; a ledger that they name
    is one whose headers are not read again.

    Raises
    ------
    medscan.errors.UsageError
        An archive is missing, a detector does not fit.
    """
    check_input(options)
    with ExitStack() as opened:
        headers = None
        if options.ledger is not None:
            headers = Ledger(options.ledger, read_only=True)
            opened.callback(headers.close)
        pseudonyms = foreseen_pseudonyms(options)
        catalogue, _ = catalogue_of(options, headers, pseudonyms)
    detectors = [detector for _, detector in options.detectors]
    plan = make_plan(
        catalogue,
        detectors,
        lambda _: None,
        named=options.named,
        identity=options.identity,
        pseudonyms=pseudonyms,
    )
    each = seconds_a_slice(options, plan)
    return Shares(_shares(plan, count, each), each)


def _shares(plan: Sequence[Task], count: int, seconds: float) -> list[Share]:
    shares = [Share() for _ in range(count)]
    for task in plan:
        share = shares[number_of(task.study, count) - 1]
        share.studies += 1
        share.stacks += len(task.stacks)
        share.slices += sum(len(stack.frames) for _, stack, _ in task.stacks)
        share.bytes += sum(file.size for file in (*task.study.files(), *task.companions))
    for share in shares:
        share.seconds = round(share.slices * seconds, 1)
    return shares
