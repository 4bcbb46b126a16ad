"""Give a detector of an older version its gate, from the shots that it was fitted on.

    python -m weights.recipe.gate DETECTOR DATA --out FILE [--images-alone]

All else stays as it is, tensors and scores too. DATA must hold every shot, unchanged. With
--images-alone its headers do not count, such as the spacing of pictures that were put together to
volumes.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from medscan import detector as detectors
from medscan.detector import Detector
from medscan.errors import UsageError
from medscan.fitting import find_shots, labels_of, set_gate
from medscan.shots import stacked


def with_gate(path: Path, data: Path, out: Path, *, images_alone: bool = False) -> Detector:
    """Write the detector in `path` with a gate to `out`, and return it as saved."""
    found = detectors.read(path)
    backbone = found.load_backbone(device="cpu", precision="fp32")
    method = found.load_method(path, backbone)
    shots = find_shots(found, data, backbone.size)
    if missing := len(labels_of(found)) - len(shots):
        raise UsageError(f"{data} lacks {missing} shots of {found.name}")
    drawn = stacked(shots)
    if images_alone:
        drawn = replace(drawn, acquired=())
    with torch.inference_mode():
        prepared = torch.cat([method.prepare(image[None]) for image in drawn.images])
        gate = set_gate(method, prepared, drawn, found.seed)
    return replace(found, gate=gate).save(out, method)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("detector", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images-alone", action="store_true")
    args = parser.parse_args()
    found = with_gate(
        detectors.find(args.detector), args.data, args.out, images_alone=args.images_alone
    )
    gate = found.gate
    told = f"limit {gate.limit:.3f}, spans {gate.spans}" if gate else "no gate: too few patients"
    print(f"{args.out}: {told}; SHA-256 {found.digest}")


if __name__ == "__main__":
    main()
