"""Prose of the manual pages about medscan as a whole and its weights."""

from __future__ import annotations

from medscan.cli.manual_base import SCAN_EXITS, Text
from medscan.cli.manual_nights import TIMER

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
and
.Cm scan
with
.Fl -engine Cm ray
opens a network connection.
""",
    exits=SCAN_EXITS,
    examples="""
Fit a detector on 16 normal and 16 abnormal slices, and scan an archive with it:
.Bd -literal -offset indent
medscan fit flair/ --modality MR --body-part BRAIN --out flair.safetensors
medscan scan /archive --detector flair.safetensors --out night.h5
.Ed
.Pp
"""
    + TIMER.lstrip(),
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

_DEMO = Text(
    brief="scan something that is there on every machine",
    description="""
Draws a head as FLAIR MRI shows it, with one bright lesion, writes it as a DICOM
series, and scans it together with the images in the packages of pydicom and
nibabel with all detectors that come with medscan.
It needs neither data nor a network.
.Pp
The lesion's place is printed: the worklist should put that study first and its
heatmap should be hottest there.
Most of the other images are of something that no detector was fitted for, and
are reported as out of scope.
Some are broken on purpose and are counted as failed, which does not change the
exit status here.
""",
    files="""
.Bl -tag -width Ds
.It Pa medscan-demo/results.html
The worklist to open.
.It Pa medscan-demo/archive/phantom
The drawn series; drawn again when a file is missing.
.El
""",
)

TEXTS: dict[str, Text] = {"medscan": _MAIN, "medscan-demo": _DEMO, "medscan-weights": _WEIGHTS_PAGE}
"""By page name."""
