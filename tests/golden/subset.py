"""Make the subset beside this file from a folder of the whole goldens.

    python -m tests.golden.subset FOLDER

The whole goldens hold what the authors' code gave on a CPU (Python 3.11, torch 2.13,
open_clip 3.3.0, kornia 0.9.0, numpy 2.4) for a tiny CLIP and synthetic images:

- MVFA: MediaBrain-SJTU/MVFA-AD at a30bf7bb2c51772a36e7be58d3c072be480620fe
- MadCLIP: mahshid1998/MadCLIP at c54903d6b337ab748ca1b6aa7807115039c8b035
- MedVMAD: deeptiguntur/MedVMAD at 3616c3e8c4c49c66fd78c5b8abf4192433acbc32

Inputs are kept whole. A result with more than `LIMIT` numbers is sampled. Random weights are drawn
again by `drawn`; only the few that it rounds differently are kept. README.md describes each tensor.
"""

import json
import math
import sys
from fnmatch import fnmatch
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.golden import HERE, drawn

LIMIT = 900
INPUTS = ("images", "masks", "labels", "token_ids", "ctx.*", "deep", "augment.in_*")
RESULTS = {
    "taps": ("*gelu.tokens.*", "*gelu.pooled", "*gelu.text.*"),
    "mvfa": (
        *("text.Brain", "mid.*", "seg.prob", "zero.seg_map", "zero.det", "bank2.seg"),
        *("bank2.seg.nn", "bank2.seg.few_map", "bank2.fused_map", "bank2.image_score*"),
        *("loss.image?.*", "grad.image?.*.fc1.*", "train.label_order", "train.loss_total"),
        *("train.bce", "train.focal", "train.dice", "augment.*"),
    ),
    "madclip": (
        *("prompt.*.embeddings", "text", "text.causal", "text.*.each", "feat.*", "det.S"),
        *("seg.S", "seg.prob", "map", "det.score", "test.image_score_det_raw", "loss.*"),
        *("grad.*", "train*.label_order", "train*.loss_total", "train*.siglip"),
        *("train.focal", "train.dice", "train*.text_before", "augment.*"),
    ),
    "medvmad": (
        *("text", "text.no_half", "*.mid.*", "*.cos", "*.seg.prob", "*.map*"),
        *("*.image_score", "*.train.*"),
    ),
}


def main(folder: Path) -> None:
    """Write a subset of each of the folder's files, and the corrections of drawn weights."""
    write_roundings(load_file(folder / "backbone" / "open_clip_model.safetensors"))
    for name, results in RESULTS.items():
        tensors = load_file(folder / f"{name}.safetensors")
        kept, sampled = {}, {}
        for key, tensor in tensors.items():
            if matches(key, INPUTS):
                kept[key] = packed(tensor)
            elif matches(key, results):
                step = step_of(tensor)
                if step > 1:
                    sampled[key] = [list(tensor.shape), step]
                    tensor = tensor.flatten()[::step].clone()
                kept[key] = packed(tensor)
        save_file(kept, HERE / f"{name}.safetensors", {"sampled": json.dumps(sampled)})


def write_roundings(state: dict[str, torch.Tensor]) -> None:
    """Write where drawn weights differ from those of the runs, and what they are there."""
    ours = drawn.normal_weights()
    flat = torch.cat([tensor.flatten() for tensor in ours.values()])
    wanted = torch.cat([state[name].flatten().half() for name in ours])
    index = (flat != wanted).nonzero().flatten()
    save_file({"index": index.int(), "value": wanted[index]}, drawn.ROUNDED)
    for name, tensor in drawn.backbone().items():
        assert torch.equal(tensor, state[name]), name


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a name fits one of the patterns."""
    return any(fnmatch(name, pattern) for pattern in patterns)


def step_of(tensor: torch.Tensor) -> int:
    """Smallest step that keeps at most `LIMIT` numbers and shares no factor with any side."""
    step = -(-tensor.numel() // LIMIT)
    while any(math.gcd(step, side) > 1 for side in tensor.shape) and step > 1:
        step += 1
    return step


def packed(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers as bytes k (for k/255) or in half precision where that is exact."""
    if tensor.is_floating_point():
        steps = (255 * tensor).round()
        if torch.equal(steps / 255, tensor):
            return steps.to(torch.uint8)
        if torch.equal(tensor.half().float(), tensor):
            return tensor.half()
    return tensor


if __name__ == "__main__":
    main(Path(sys.argv[1]))
