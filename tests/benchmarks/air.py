"""How much of what a tower is shown is air or padding.

    python tests/benchmarks/air.py DETECTOR=DATA ...

DATA is a folder or manifest as `medscan fit` reads it; slices of its training split are drawn as
the detector asks for, and cropped to their foreground if it does that. Prints the mean share of
patches whose brightest pixel is below 2 % of the scale, and those of the slices with the least and
the most, the tenth part on either side left out. To leave such patches out of the tower could save
no more.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from medscan import detector
from medscan.evaluate import slices_of
from medscan.parts import foreground
from medscan.shots import read_items

DARK = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description="Share of dark patches.")
    parser.add_argument("pairs", nargs="+", metavar="DETECTOR=DATA")
    for pair in parser.parse_args().pairs:
        name, _, data = pair.partition("=")
        found = detector.read(detector.find(Path(name)))
        backbone = found.load_backbone(device="cpu", precision="fp32")
        items = read_items(Path(data))
        drawn = slices_of(found.domain.plane, found.window, backbone.size, items)
        images = torch.from_numpy(np.stack([one.image for one in drawn]))
        if found.settings.get("view") == "foreground":
            images = foreground.crop(images, foreground.find_boxes(images))
        brightest = F.max_pool2d(images.amax(1, keepdim=True), backbone.patch)
        dark = (brightest < DARK).float().mean((1, 2, 3))
        low, high = (float(dark.quantile(share)) for share in (0.1, 0.9))
        print(
            f"{found.name}: {100 * dark.mean():.1f} % of patches dark in {len(dark)} slices "
            f"({100 * low:.0f} to {100 * high:.0f} %)",
            flush=True,
        )


if __name__ == "__main__":
    main()
