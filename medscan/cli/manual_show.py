"""Prose of the manual pages about what is made of results, in mdoc(7)."""

from __future__ import annotations

from medscan.cli.manual_base import Text

_REPORT = Text(
    brief="write the worklist of results",
    description="""
.Nm
reads results files as one and writes a folder that works from a file share,
without a server or a network.
A study that several files hold is taken from the one written last of those that
have a score for it, with the series that only older ones scored.
Counts of files are sums over the runs, in which a file that several runs met
counts in each; a run that is given twice counts once.
.Bl -tag -width Ds
.It Pa index.html
The studies, worst first: score, flag, scores along the slices, worst slice.
Columns sort, and the list can be filtered by text, flag, modality, detector and
date; the address keeps what was asked for.
Keys:
.Cm j
and
.Cm k
move,
.Cm Enter
opens,
.Cm /
searches.
Printing prints all studies that the filter leaves.
.It Pa studies/
A page a study, with a viewer for every series: slider, wheel and arrow keys
step through the slices,
.Cm h ,
.Cm c
and
.Cm s
switch the heatmap, the contours and the source beside it.
A colour means the same patch score in every study of a detector: the middle of
the scale is its threshold for patches, the low end the median of normal ones,
and the top end is as far above the middle as the low end is below it, but no
higher than patch scores go: 1, where they are probabilities.
Contours lie at that threshold.
.Cm j
and
.Cm k
go to the next and the previous study,
.Cm u
back to the list.
.It Pa run.html
What became of every file, speed, versions and hashes, and whether the scores
are distributed like those of the normals that the detector was calibrated on:
the two-sample Kolmogorov-Smirnov statistic of one slice a series, drawn with a
fixed seed, since slices of a series resemble each other.
.It Pa results.csv
A row a study, worst first, in UTF-8.
Text that a spreadsheet would run as a formula has a leading apostrophe;
an empty cell is what is not known.
With
.Fl -series
and
.Fl -slices
there are
.Pa series.csv
and
.Pa slices.csv
as well, with
.Fl -jsonl
each table also as
.Pa .jsonl :
an object a row, with the same names.
The columns are described in
.Xr medscan-results 5 .
.El
.Pp
Results hold pictures of the worst slices only; other slices are shown as
heatmaps alone, unless
.Fl -archive
says where to draw them from; a page of
.Fl -single-file
gets the three slices of each series with the highest scores.
Volumes and pictures are found by the key file of the scan.
Where pictures were withheld because they may carry burned-in text, they stay
withheld.
.Pp
With
.Fl -compare ,
studies are marked as newly flagged, newly cleared, not scored now, new, or
moved: with another score and another place among the studies that both files
hold.
.Ss Verdicts
.Fl -decisions
reads a CSV file of a radiologist's verdicts.
The list then shows and filters them, the page of a study holds them all, and
the run page sets them beside the flags: sensitivity and specificity of the
judged studies, which are no random sample.
.Xr medscan-fit 1
makes a new detector of them.
.Pp
Such a file comes from the pages themselves: on the page of a study,
.Cm a
calls the slice in view abnormal,
.Cm n
the study normal, and buttons do the same;
the list counts the verdicts and saves them as
.Pa decisions.csv .
The browser keeps them under the keys of studies until they are forgotten there;
nothing is sent.
They are on the results as written: a report of results that a scan has written
since begins without them, so save them before.
In a browser that lets no page see what another one keeps for files, the buttons
are missing from the folder, but not from
.Fl -single-file .
Or add a column
.Li verdict
to a copy of
.Pa results.csv , series.csv
or
.Pa slices.csv .
.Pp
The first row names the columns, in any order:
.Bl -tag -width verdict
.It Li study
Key of the study, or its StudyInstanceUID.
.It Li verdict
.Cm abnormal , normal
or
.Cm unsure ;
a row without one is passed over.
.It Li stack
Optional: key of a stack, as
.Pa series.csv
has it; the verdict is on that stack.
.It Li slice
Optional: number of a slice of the stack, from 1, as
.Pa slices.csv
and the viewer count; the verdict is on that slice.
The stack may be left out where the study has only one.
.El
.Pp
Other columns, such as comments, are neither read nor shown.
Commas, semicolons and tabs separate.
A study is abnormal where a part of it is; that the whole is called otherwise is
a contradiction.
A row that contradicts another, or names what the results do not have, is named,
and nothing is written.
.Ss Earlier reports
An earlier report in the folder is replaced, and what it had besides is removed:
pages and pictures of studies that are gone, tables that are not asked for
again; other files there are left alone.
A folder that is not empty and holds no report is refused.
""",
    examples="""
.Dl medscan report monday.h5 tuesday.h5 --out /srv/worklist/week
.Dl medscan report night.h5 --compare last.h5 --archive /archive
.Dl medscan report night.h5 --single-file --pictures 20 --out mail
.Dl medscan report night.h5 --decisions decisions.csv
""",
)

_EXPORT = Text(
    brief="write results, or a detector, for other programs",
    description="""
.Nm
writes what results files hold into a folder.
Several are read as one, as
.Xr medscan-report 1
reads them.
.Fl -study ,
by key or StudyInstanceUID, and
.Fl -flagged
choose some; where no study is flagged, a line says so and nothing is written.
Of the archive, only headers of their files are read then, unless one has moved.
.Pp
Below, a key slice is one whose score reaches the detector's threshold, at most
ten of a stack, or its worst slice where none does.
The formats are as follows:
.Bl -tag -width Ds
.It Cm nifti
The anomaly map of every scored stack as
.Pa STUDY_STACK_map.nii.gz ,
named by their keys.
Maps are float32 on the pixels of the source, interpolated between the patches
of the model, or with
.Fl -grid Cm model
on the patches; they are 0 where a slice was not scored.
Their affine puts them on the source volume; that of a tilted stack is sheared,
and only in the sform.
Unevenly spaced slices are put on the nearest layer of an even grid; where two
share a layer, the one with the higher score stays.
Where the source says nothing of its geometry, voxels are 1 mm and the
description in the header says so.
.Fl -with-source
writes
.Pa STUDY_STACK_source.nii.gz
too: the source after rescale, under its map, with any text that is burned into
its pixels.
.It Cm dicom-pm
A Parametric Map of every scored stack: its patch scores as floats, a frame for
each scored slice, on either grid; the grid of the model is much smaller.
A source that does not say where it lies has none, for the standard asks for it:
each such series is named.
.It Cm dicom-seg
A Segmentation of every stack with regions whose patch score reaches the
threshold for patches.
With
.Fl -seg-type Cm fractional
a pixel holds where its score lies on the colour scale of the detector instead:
0 is the median of normal patches or less, 0.5 the threshold, 1 the top end or
more; cut at 0.5 it is the binary one.
It is declared to be a probability, which it is not: DICOM has no better word.
.It Cm dicom-sc
The key slices with their map over them, as Secondary Captures in RGB.
.It Cm dicom-sr
A Structured Report (TID 1500) of every study: score, percentile and threshold
of each stack, with the key slices as key images and their scores.
.It Cm png
The key slices with their map over them, as
.Pa STUDY_STACK_SLICE.png ,
slices counted from 1.
They are drawn from the source with
.Fl -archive ,
else from the thumbnails in the results.
Stacks whose pictures may carry burned-in text are left out.
.It Cm npz
Arrays of every study as
.Pa STUDY.npz ,
named
.Cm STACK/NAME :
.Cm heatmap , slice_score , state , position_mm , frame
and
.Cm grid_to_pixel
as in
.Xr medscan-results 5 ;
.Cm score
and
.Cm threshold ;
.Cm affine
and
.Cm grid_affine ,
which take column, row and slice of pixels and of patches to millimetres (RAS).
.It Cm csv
A table
.Pa slices.csv
with a row a slice, as
.Ql medscan report --slices
writes it; see
.Xr medscan-results 5 .
.It Cm onnx
A detector's backbone and method as one graph, from
.Cm image ,
float32 N x 3 x S x S in [0, 1], to
.Cm score
(N) and
.Cm map
(N x G x G).
N is free.
Windowing and letterboxing come before the graph; which, and the threshold, is
said in its metadata under
.Cm medscan .
The file is kept only if ONNX Runtime gives the scores and maps of PyTorch
within 1e-4, on random slices and, with
.Fl -archive ,
on real ones that the detector is for.
Needs
.Ql pip install 'medscan[onnx]' .
.El
.Pp
Names of files hold no identity.
DICOM objects do: they carry the patient and the study of their source, so that
a PACS files them there, in a new series.
They are written nowhere but into the folder named.
.Pp
Volume files are found in
.Fl -archive
by their path below the folder that was scanned, under the name that it had
then: the same path below another folder is another file, and refused.
Name the key file of the scan where it does not lie beside the results.
DICOM files are found by their UIDs, wherever they lie.
.Pp
Exporting the same results again gives the same bytes.
So the UID of an object is made of its content, that of its series of the
detector and the source series, and its dates are those of the study, not of the
export.
.Pp
.Nm medscan scan
skips what was written here where it finds it: DICOM objects by their
manufacturer, PNG pictures by the software in their EXIF data, NIfTI files,
sources included, by their description.
""",
    exits="""
.Bl -tag -width Ds -compact
.It 0
Done.
.It 1
Failed: the message says what could not be read or written; a graph that does
not give the numbers of PyTorch is not kept.
.It 2
Wrong usage: the message says what to change; nothing was written.
.It 3
Done, but some stacks could not be had in this format: each is named with the
reason, such as a volume file that is no part of a DICOM study, or a source that
is not in the archive.
.It 130
Stopped by the interrupt signal.
.El
""",
    examples="""
.Dl medscan export results.h5 --to nifti --out maps
.Dl medscan export shard-*.h5 --to png --flagged --out flagged
.Dl medscan export results.h5 --to dicom-seg --archive /archive --out objects
.Dl medscan export brain-flair --to onnx --out brain-flair.onnx
""",
)

_VERIFY = Text(
    brief="check that results are whole and come out the same again",
    description="""
.Nm
looks a results file through:
.Bl -bullet
.It
The files found are as many as those scanned, skipped and failed together, and
each of these is listed, with a reason of its kind.
.It
Every data set has the shape and type that
.Xr medscan-results 5
says, and holds finite numbers: scores exactly where a slice was scored.
.It
Stacks score what their slices give, and studies what their stacks give.
.El
.Pp
With
.Fl -archive
it also scores some studies again, the same ones every time, and prints the
largest difference of slice scores and of maps.
On one machine there is none at the same batch size; other hardware rounds
otherwise, within
.Fl -tolerance .
The results say how they were scanned; name the detectors unless medscan finds
them itself.
Studies whose files were absent at the last scan are counted and not scored
again.
.Pp
Nothing is written.
A line says what is wrong, and then one what was looked at.
""",
    exits="""
.Bl -tag -width Ds -compact
.It 0
All is as it should be.
.It 1
It is not: the lines say what.
.It 2
Wrong usage: the message says what to change.
.It 130 , 143
Stopped by SIGINT or SIGTERM: the rest was not scored again.
.El
""",
    examples="""
.Dl medscan verify results.h5 --archive /archive --sample 20
""",
)

_LOCATE = Text(
    brief="find the files that hashed paths stand for",
    description="""
.Nm
walks
.Ar archive ,
without opening a file, and prints where the files or folders lie that a results
file, its tables or a log name by hashes.
The key of a study stands for the files that were scanned of it.
It takes the key file of the scan.
.Pp
What it prints may name patients: that is what it is for.
""",
    exits="""
.Bl -tag -width Ds -compact
.It 0
Everything was found.
.It 1
Something was not: the message says what.
.It 2
Wrong usage, or the key file is not there.
.El
""",
    examples="""
.Dl medscan locate results.h5 3f2a9c10b7d4e586 --archive /archive
""",
)

TEXTS: dict[str, Text] = {
    "medscan-export": _EXPORT,
    "medscan-locate": _LOCATE,
    "medscan-report": _REPORT,
    "medscan-verify": _VERIFY,
}
"""By page name."""
