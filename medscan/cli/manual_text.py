"""Prose of the manual pages about medscan as a whole and its weights."""

from __future__ import annotations

from medscan.cli.manual_base import SCAN_EXITS, Text

_MAIN = Text(
    brief="scan imaging archives with few-shot CLIP anomaly models",
    description="""
.Nm
scores every slice of the studies in an archive
.Pq DICOM, NIfTI, MetaImage, NRRD, PNG, JPEG, TIFF
with detectors that were fitted on a few labelled images, and ranks the studies
by how abnormal they look.
It is research software and not a medical device.
.Pp
No command but
.Cm weights pull
opens a network connection.
""",
    exits=SCAN_EXITS,
    examples="""
Fit a detector on 16 normal and 16 abnormal slices, and scan an archive with it:
.Bd -literal -offset indent
medscan fit flair/ --modality MR --body-part BRAIN --out flair.safetensors
medscan scan /archive --detector flair.safetensors --out night.h5
.Ed
""",
)

_WEIGHTS_PAGE = Text(
    brief="manage the backbones and detectors on this machine",
    description="""
A backbone is a frozen CLIP that detectors are fitted on.
One small one,
.Cm medscan-mini ,
comes with medscan; others are fetched or imported once.
Only
.Cm pull
opens a network connection.
Weights are kept as safetensors, and no file is ever unpickled.
""",
    files="""
.Bl -tag -width Ds
.It Pa ~/.local/share/medscan/weights
A folder a backbone, with its configuration, its weights and their origin.
.El
""",
    examples="""
.Bd -literal -offset indent
medscan weights pull ViT-L-14-336-quickgelu/openai
medscan weights verify
.Ed
""",
)

TEXTS: dict[str, Text] = {"medscan": _MAIN, "medscan-weights": _WEIGHTS_PAGE}
"""By page name."""
