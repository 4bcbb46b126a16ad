"""What was measured not to work: said once, before a fit that asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medscan import clip
from medscan.routing import RADIOGRAPHS
from medscan.text import printable

if TYPE_CHECKING:
    from medscan.fitting.run import FitOptions

BY_PROMPTS = ("clip", "conrad", "cocoop")
"""Methods that rank images by what the text tower says of them."""
BY_PLACE = ("patchcore",)
"""Methods that only know how far patches are from normal ones."""
UNALIGNED = 0.57, 0.84
"""Image AUROC of patchcore on chest radiographs, 16 normals; and of the size of their files."""


def doubts(options: FitOptions) -> Iterator[str]:
    """Yield a sentence for each reason, with its figure, why a fit is not worth its time."""
    organ, radiograph = options.organ.casefold(), options.domain.modality.upper() in RADIOGRAPHS
    if options.method in BY_PROMPTS:
        origin = clip.find(options.backbone).origin
        known, elsewhere = origin.get("captions"), origin.get("auroc_elsewhere")
        if known and not any(word in organ for word in known):
            yield (
                f"method {options.method} ranks by prompts, but the text of {options.backbone} "
                f"knows {', '.join(known)}, not {printable(options.organ, 80)}: left out of its "
                f"captions, organs had an image AUROC of {elsewhere}; fit another method"
            )
    if options.method in BY_PLACE and (radiograph or "x-ray" in organ):
        mine, trivial = UNALIGNED
        yield (
            f"method {options.method} finds little in radiographs, which lie anywhere: its image "
            f"AUROC on chest films was {mine}, and that of their files' size {trivial}; fit "
            "another method"
        )
