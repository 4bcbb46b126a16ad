"""Prose of the manual pages about scanning, in mdoc(7)."""

from __future__ import annotations

from medscan.cli.manual_base import SCAN_EXITS, Text
from medscan.cli.manual_nights import NIGHTS
from medscan.cli.manual_shards import SHARDS

_SCAN = Text(
    brief="score every slice of imaging archives",
    description="""
.Nm
walks each
.Ar archive ,
groups its files into studies, and scores every slice that one of the detectors
was fitted for.
It writes the results file, described in
.Xr medscan-results 5 ,
and beside it a table
.Pq Pa .csv
and a worklist
.Pq Pa .html .
.Pp
A second scan into the same file does only what is new: studies and detectors
that have not changed are not scanned again.
A scan that is stopped or killed loses at most the studies in hand.
.Pp
Without
.Fl -detector
all detectors are used that come with medscan or lie in
.Ev MEDSCAN_WEIGHTS .
A series that no detector was fitted for is not scored, but reported as out of
scope.
.Pp
A series is divided into stacks of slices that lie on one another: by size,
orientation, frame of reference, image type, echo and, where places repeat, by
time.
Each volume of a 4-D file is a stack, and so is a Siemens mosaic, cut into its
slices.
Slices are ordered by their place along their normal; without one by instance
number, then path, then frame.
Missing slices, uneven spacing and a tilted gantry are noted in the results
file.
.Pp
A stack scores the mean of the top 5 % of its slices, at least one; a study the
maximum of its stacks.
A stack is flagged when it scores more than normal stacks of as many slices
would at the detector's target rate; that is simulated from the normal slices
the detector was calibrated on, and called provisional where they are too few.
.Pp
Every file is counted once: as scanned, skipped on purpose or failed.
One bad file costs that file only.
.Fl -accounting
writes a table with a row a file, sorted by path, in UTF-8:
.Cm path
below
.Ar archive ,
.Cm bucket
.Pq scanned, skipped or failed ,
.Cm reason
.Po
one of those in
.Xr medscan-results 5 ;
empty for what was scanned
.Pc ,
.Cm study
and
.Cm series
.Pq the UIDs, where the file has and shows them ,
.Cm stack
.Pq its key in the results ,
.Cm index
.Pq place in the stack, from 0
and
.Cm detail ,
the reason in words.
A file with many frames has one row, with stack and place of its first frame;
the file of a volume's voxels has that of its header.
Text that a spreadsheet would run as a formula has a leading apostrophe; control
characters, and bytes of names that are not UTF-8, are escaped.
With
.Fl -dry-run
the table says what would become of each file if all of them can be decoded; for
studies that are done, what became of them.
Files that the scan itself writes are not counted.
.Pp
With
.Fl -settle
a study is left for the next scan while any of its files was written less than
that long ago; its files are skipped as
.Cm arriving .
Times are a number and
.Cm s , m , h
or
.Cm d ;
0, the default, waits for nothing.
A file that is broken is taken to be half-written as long as it is young, and
one with a time in the future is young.
Copies that keep the times of their originals look old from the start.
.Pp
Files are decoded in processes of their own.
A decoder that dies, or takes longer than
.Fl -file-timeout ,
costs its file, which fails as
.Cm decoder-died .
A file that is larger than
.Fl -max-file-gib ,
unpacks to more or declares more fails as
.Cm too-large ;
a decode process can have four times that and 1 GiB of memory, and no more.
Neither holds with
.Fl -workers Cm 0 .
Nor may a header take longer than
.Fl -file-timeout
to read, whatever the number of workers: a file whose storage does not answer is
given up in the same way and tried again the next time.
.Pp
No identity is written to any file or to the screen, unless
.Fl -identify
is given.
What is read of a file loses it at once: in place of the patient ID there is a
keyed pseudonym, which links the studies of a patient; of descriptions there are
only names of sequences and the words that detectors ask for; a modality or body
part that DICOM does not define is written as OT or OTHER, and what stands where
a UID should as a hash.
Names, birth dates and accession numbers are not read at all.
UIDs and dates of studies are kept: a PACS finds a study by them.
.Pp
Folders and files often bear the names of patients.
Each name in a path below
.Ar archive
is therefore written as a keyed hash, in the results, their tables, the
accounting, logs and the ledger alike; equal names have equal hashes.
.Xr medscan-locate 1
finds the file.
.Fl -no-hash-paths
writes paths as they are, and so does
.Fl -identify
unless
.Fl -hash-paths
is given too.
The key lies in the key file, which is made once, with mode 0600; who has it can
tell whether a given patient is among the results, and no more.
Scans with the same key file give the same pseudonyms; a dry run before there is
one gives others.
.Pp
Pixels may carry burned-in text: pictures of ultrasound, secondary captures and
the like are not kept without
.Fl -burned-in .
.Pp
On a terminal a bar shows studies, slices a second, what failed and the time
that is left.
Elsewhere nothing is written but one line at the end, and nothing on standard
error unless a person is needed.
.Fl -log-file
appends a JSON object a line:
.Cm time
.Pq UTC ,
.Cm level ,
.Cm event
and facts such as
.Cm study
.Pq its key ,
.Cm file ,
.Cm reason ,
.Cm stage ,
.Cm slices
and
.Cm seconds .
It may be rotated between scans.
.Fl -json
prints, in place of the line, what became of the files and why, the seconds that
each stage took, versions, and the hashes of detectors and backbones.
.Pp
On a CPU the model takes a batch a core side by side, each with one thread, so
that no score depends on the number of cores;
.Ev OMP_NUM_THREADS
says how many cores it may use.
.Fl -workers
processes decode beside it, a few files ahead.
.Fl -profile
prints, after the line, the seconds of each step of the scan, and how long
decoding, the model, and putting results together and writing them were busy and
had to wait, with the bottleneck in a sentence.
.Pp
.Fl -engine Cm ray
scans on the nodes of a Ray cluster, of which
.Fl -address
names the head; this opens network connections.
.Xr medscan-cluster 7
says how.
.Pp
.Fl -plane
takes
.Cm axial , coronal
or
.Cm sagittal ;
.Fl -precision
takes
.Cm fp32 , bf16
or
.Cm fp16 .
Detectors are calibrated in
.Cm fp32 ,
the default.
In
.Cm bf16
the shipped brain detector is some 1.7 times as fast on a CPU that has it, and
its scores of slices move by up to 0.04 (99 in 100 by less than 0.016), so that
a few cross the threshold and close studies may change places.
.Cm fp16
is for GPUs; worked out on a CPU, it moved the scores of 96 slices by at most
0.0022.
"""
    + NIGHTS.lstrip()
    + SHARDS.lstrip(),
    files="""
For
.Fl -out Pa results.h5 :
.Bl -tag -width Ds
.It Pa results.h5
The results; replaced as a whole, in one rename.
.It Pa results.csv , results.html
The table, and the worklist as one page: all studies, and slices of 200, flagged
ones first.
.Xr medscan-report 1
writes all, as a folder.
.It Pa results.h5.ledger
What is done.
.It Pa results.h5.key
The key of the pseudonyms: back it up, and give it to nobody.
.It Pa results.h5.parts/
Studies that are finished, but not in the results yet.
.It Pa results.h5.lock
Who writes to the results; gone when nobody does.
.El
""",
    exits=SCAN_EXITS,
    examples="""
.Xr medscan 1
shows how to scan every night.
.Pp
See what a scan would do, and how long it would take:
.Pp
.Dl medscan scan /archive --dry-run
.Pp
See what became of every file, and leave alone what is still arriving:
.Bd -literal -offset indent
medscan scan /archive --settle 15m --accounting files.csv
.Ed
""",
)

_DOCTOR = Text(
    brief="say whether a scan can run here",
    description="""
.Nm
prints what a scan would find:
versions of medscan and its libraries,
devices with their memory and the number of slices that fit into it, about, with
the backbones of the detectors that are here,
whether the folder of the results and that of temporary files can be written and
what is free there,
the time zone, which
.Fl -until
of
.Xr medscan-scan 1
goes by,
the backbones and detectors with their SHA-256 and licence,
and each DICOM transfer syntax that can be decoded, with the packages that
decode it in the order in which they are tried.
The hash of a backbone is of its weights and settings together, as detectors
record it.
Where something keeps a scan from running, the last line says what.
.Pp
It opens no network connection and leaves nothing behind.
""",
    exits="""
.Bl -tag -width Ds -compact
.It 0
A scan can run.
.It 1
It cannot: the message says why.
.It 2
Wrong usage.
.El
""",
    examples="""
List the encodings that cannot be decoded:
.Bd -literal -offset indent
medscan doctor --json | jq -r '.syntaxes[] | select(.decoders == []) | .name'
.Ed
""",
)

TEXTS: dict[str, Text] = {"medscan-doctor": _DOCTOR, "medscan-scan": _SCAN}
"""By page name."""
