"""What `medscan scan --every` would have passed over, and lost, in results of whole stacks.

    python tests/benchmarks/every.py RESULTS... [--mm 2 3 4 6 8]

RESULTS are of scans without that option. Plays every stack again in which slices may be passed over
and prints a line for each distance: the slices that are scored, of how many; stacks whose flag
changes; stacks whose score falls, and by how much at most, in standard deviations of the scores of
slices; and stacks whose highest slice is another, and how far away at most.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medscan import results
from medscan.results import StackResult, State
from medscan.scoring import aggregate, first_slices, further_slices, top_count


def played(stack: StackResult, every_mm: float) -> NDArray[np.float32]:
    """Scores (n,) as far as they would be asked for, else NaN."""
    asked = np.zeros(len(stack.state), bool)
    asked[first_slices(stack.position_mm.tolist(), every_mm)] = True
    while True:
        scores = np.where(asked, stack.slice_score, np.nan).astype(np.float32)
        count = int(np.isfinite(scores).sum() + (~asked).sum())
        levels = [float(stack.info["threshold"])]
        more = further_slices(scores, ~asked, levels, top_count(count))
        if not more:
            return scores
        asked[more] = True


def stacks_of(paths: list[Path]) -> Iterator[StackResult]:
    for path in paths:
        for study in results.open(path).studies():
            yield from (s for s in study.stacks if (s.state != State.FAILED).all())


def line(stacks: list[StackResult], every_mm: float) -> str:
    found = [(stack, played(stack, every_mm)) for stack in stacks]
    spread = np.nanstd(np.concatenate([stack.slice_score for stack in stacks]))
    asked = total = flags = other = 0
    lost, away = [0.0], [0.0]
    for stack, scores in found:
        left = int((np.isfinite(stack.slice_score) & np.isnan(scores)).sum())
        asked, total = asked + int(np.isfinite(scores).sum()), total + len(scores)
        score, threshold = aggregate(scores, left), float(stack.info["threshold"])
        flags += (score >= threshold) != stack.flagged
        lost.append(stack.score - score)
        peaks = [int(np.nanargmax(each)) for each in (stack.slice_score, scores)]
        other += peaks[0] != peaks[1]
        away.append(abs(float(np.diff(stack.position_mm[peaks])[0])))
    fallen = sum(each > 1e-6 for each in lost)
    return (
        f"{every_mm:g} mm: {asked} of {total} slices scored; flags changed {flags} of {len(found)}"
        f"; scores lower {fallen}, by {max(lost) / spread:.3f} deviations at most; highest slice "
        f"another one {other}, {max(away):.1f} mm away at most"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="What --every loses.")
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--mm", nargs="+", type=float, default=[2, 3, 4, 6, 8])
    args = parser.parse_args()
    stacks = [s for s in stacks_of(args.results) if np.isfinite(s.slice_score).any()]
    for every_mm in args.mm:
        thin = [
            s for s in stacks if len(first_slices(s.position_mm.tolist(), every_mm)) < len(s.state)
        ]
        if thin:
            print(line(thin, every_mm), flush=True)
        else:
            print(f"{every_mm:g} mm: no stack is that thin")


if __name__ == "__main__":
    main()
