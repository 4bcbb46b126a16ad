"""Prose of the manual pages about what is made of results, in mdoc(7)."""

from __future__ import annotations

from medscan.cli.manual_base import Text

_REPORT = Text(
    brief="write the worklist of results again",
    description="""
.Nm
reads results files as one and writes two files:
.Bl -tag -width Ds
.It Pa .csv
A row a study, worst first, in UTF-8.
Text that a spreadsheet would run as a formula has a leading apostrophe.
.It Pa .html
One page without scripts that needs neither server nor network: the ranked
studies, the worst slices with their heatmaps, and the accounting of files.
A colour means the same patch score in every study of a detector: the middle of
the scale is its threshold for patches, the low end the median of normal ones.
Pictures are embedded for the 200 worst studies.
.El
""",
    examples="""
.Dl medscan report monday.h5 tuesday.h5 --out /srv/worklist/week
""",
)

_EXPORT = Text(
    brief="write results in other formats",
    description="""
.Nm
writes what a results file holds into a folder.
The formats are as follows:
.Bl -tag -width Ds
.It Cm nifti
The anomaly map of every scored stack as
.Pa STUDY_STACK_map.nii.gz ,
named by their keys.
Maps are float32 on the pixels of the source, interpolated between the patches
of the model, and 0 where a slice was not scored.
Their affine puts them on the source volume; that of a tilted stack is sheared,
and only in the sform.
Unevenly spaced slices are put on the nearest layer of an even grid.
Where the source says nothing of its geometry, voxels are 1 mm and the
description in the header says so.
.It Cm csv
A table
.Pa slices.csv
with a row a slice.
.El
.Pp
File names hold no identity.
""",
    examples="""
.Dl medscan export results.h5 --to nifti --out maps
""",
)

TEXTS: dict[str, Text] = {"medscan-export": _EXPORT, "medscan-report": _REPORT}
"""By page name."""
