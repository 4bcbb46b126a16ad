"""Prose of the manual pages about fitting and measuring."""

from __future__ import annotations

from medscan.cli.manual_base import Text

FIT = Text(
    brief="fit an anomaly detector on a few labelled images",
    description="""
.Nm
draws shots from
.Ar data ,
one patient after another, fits a method to them on a frozen backbone,
calibrates it on normals that the fitted folds had not seen, and writes one
detector file.
.Pp
.Ar data
is one of the following:
.Bl -bullet
.It
a folder in BMAD's layout:
.Pa train/good ,
.Pa valid/good/img ,
.Pa valid/Ungood/img
with
.Pa valid/Ungood/anomaly_mask
or
.Pa label ;
its
.Pa test
is never touched;
.It
a folder with
.Pa normal/ ,
.Pa abnormal/
and optionally
.Pa masks/ ;
a
.Pa cases.csv
beside them with the columns
.Li case , patient
and
.Li split
says which images belong to one patient, and only rows with
.Li train
in their split are used;
.It
a CSV manifest with the columns
.Li path , label
and optionally
.Li mask , patient
and
.Li split .
.El
.Pp
Items are pictures, DICOM files or volumes; of a volume every slice is an item.
An abnormal image whose mask is missing or empty counts for image scores only;
where no abnormal shot has a mask, methods learn without.
.Pp
.Fl -method
takes
.Bl -tag -width patchcore
.It Cm mvfa
Adapters at four depths that write back into the tower, and a memory of the
normal shots (Huang et al., CVPR 2024).
.It Cm madclip
Two adapters a depth, for what is normal and abnormal, and learned sentences
(Shiri et al., MICCAI 2025).
.It Cm medvmad
MVFA's adapters with learned sentences that name no organ.
.It Cm conrad
Prompts that text and image tower exchange; image scores are learned, maps are
a by-product.
.It Cm cocoop
Sentences that depend on the image.
.It Cm patchcore
A memory of normal patches: needs no abnormal image (after Roth et al.,
CVPR 2022).
.It Cm clip
Fixed sentences and nothing learned (after WinCLIP, CVPR 2023); normal shots
only calibrate it, and without
.Ar data
it is not calibrated.
.El
.Pp
.Fl -protocol Cm paper
sets everything that a paper or its code does otherwise than
.Cm clean :
input size and normalisation, activation, losses, causal mask, scale of maps.
.Fl -select Cm test ,
for that protocol only, keeps the epoch that is best on the data's own test
split, as the published figures do; the detector says so.
.Fl -set
changes one setting; a wrong name lists them all.
.Pp
With
.Fl -zero-shot
a method learns from one or several data sets of other organs, named in their
order by
.Fl -source-organ ;
.Fl -organ
is what will be scanned.
Such a detector flags nothing: nobody knows where the target's normals score.
All source images are held in memory;
.Fl -shots
limits them.
.Pp
The threshold is placed so that at most the share
.Fl -target-fpr
of new normal slices reaches it.
With too few normals for that, it is the highest of them, and marked
provisional.
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
.Ss Learning from verdicts
With
.Fl -from
and
.Fl -add ,
slices that a radiologist judged become shots of a new detector, which has the
method, settings, backbone, organ, domain, window, seed and rate of the one
named.
.Xr medscan-report 1
describes the file of verdicts.
The slices are read from
.Fl -archive ;
volumes and pictures are found by the key file of the scan.
Only stacks count that a detector of the same domain scored.
.Bl -bullet
.It
A slice that is named is a shot of the label that it was given, without a mask.
.It
Of a study, or stack, that is called normal, two slices of each stack are normal
shots: the one with the highest score, to learn from, and one drawn at random.
.It
Of a study that is called abnormal, without a slice, the one with the highest
score is an abnormal shot where the study was flagged.
Where it was not, nobody can say which slice it is: the study is left out, and
the last line says so.
.It
What is called unsure is no shot.
.El
.Pp
The threshold rests on normals that were drawn, not on those that a score or a
person picked out, which would set it too high.
Studies are not judged at random either: where mostly flagged ones were judged,
expect fewer false positives than the rate aimed at, and more misses.
.Pp
A detector holds the names of its shots, not the images.
.Ar data
is the data that the parent was fitted on: its shots there are taken again, and
those that earlier verdicts made from
.Fl -results
that hold them; it is an error if one is missing or has changed.
Without
.Ar data
the new detector rests on verdicts alone; the last line says how many shots of
the parent are not there.
A study that is judged anew is known by the new verdicts only; so is a series
whose files are among
.Ar data :
no shot is taken of them there.
.Pp
Folds never split a patient of the results, whom a pseudonym stands for; so
results of one key file only are taken at a time.
Patients of
.Ar data
are taken for others than these, but where the judged series share a file with
them.
.Pp
Files that have changed since the scan are refused, as far as their size, their
slices and the pictures in the results tell.
.Pp
The new detector says what it was made from: name, hash and licence of the
parent and of its parents, number of verdicts, hash of their file, when the
results were written, and how many shots were kept and added.
.Nm medscan weights list
and the pages of a report show it.
""",
    examples="""
.Bd -literal -offset indent
medscan fit --from flair.safetensors --add decisions.csv flair/ \\e
    --results night.h5 --archive /archive --out flair-2.safetensors
medscan fit flair/ --shots 16 --organ brain --modality MR \\e
    --body-part BRAIN --sequence FLAIR --out flair.safetensors
medscan fit normals/ --method patchcore --out normals.safetensors
medscan fit brain/ chest/ --zero-shot --source-organ Brain \\e
    --source-organ "Chest X-ray film" --organ Liver --out liver.safetensors
.Ed
""",
)

EVALUATE = Text(
    brief="measure a detector, or a grid of methods, on labelled data",
    description="""
.Nm
scores the test split of
.Ar data ,
laid out as in
.Xr medscan-fit 1 ,
and prints figures with 95 % intervals of a bootstrap over patients:
AUROC, average precision, the best F1, sensitivity and specificity at the
calibrated threshold, and the calibration error, for slices and for studies
.Pq volumes, or the pictures of a patient ;
pixel AUROC, average precision and AUPRO up to a false-positive rate of 0.3,
over all slices whose pixels are known, padding left out.
The best F1 is chosen on the data it is measured on.
The calibration error is the mean distance of the normals' p-values to those of
a perfectly calibrated detector; 0.5 is the worst.
.Pp
Files that the detector was fitted on are known by their content.
A patient who gave a shot and is in the test split ends the command.
.Fl -split Cm rest
measures on every patient who gave none.
.Pp
.Fl -protocol Cm paper
scales scores and maps by the minimum and maximum of the whole test set, as
published test code does.
Such figures compare with published ones and say nothing of one image.
.Ss Suites
.Fl -suite Ar file
measures a grid that a TOML file declares.
Each cell, one fit and one measurement, becomes a file in
.Fl -out ;
a suite that was stopped goes on where it was, and only what the declaration
changes is measured again.
.Pa table.csv
there has the means and standard deviations over the seeds.
.Fl -shard Ar I/N
lets several processes share the cells.
.Bd -literal -offset indent
methods = ["mvfa", "patchcore"]
shots = [4, 16]             # 0: zero-shot, from the other data sets
seeds = [0, 1, 2]
backbone = "medscan-mini"
protocol = "clean"          # or paper, then also: select = "test"
folds = 0                   # of the calibration
draws = 0                   # of the bootstrap

[settings.mvfa]             # as medscan fit --set
epochs = 20

[[data]]
name = "brain"
path = "brain"              # below --root, or the file's folder
organ = "Brain"
group = "head"              # clean: its like do not learn from it
trivial = 0.58              # AUROC of the best trivial feature

[[published]]               # shown beside what is measured
method = "mvfa"
shots = 16
data = "brain"
image_auroc = 94.4
.Ed
.Pp
The suite
.Cm bmad
comes with medscan: the six data sets of BMAD with the figures of the papers,
for those who have that data and ViT-L/14.
""",
    examples="""
.Bd -literal -offset indent
medscan evaluate flair.safetensors flair/ --json flair.json --plots .
medscan evaluate --suite bmad --root BMAD --out bmad/ --device cuda
.Ed
""",
)

TEXTS: dict[str, Text] = {"medscan-evaluate": EVALUATE, "medscan-fit": FIT}
"""By page name."""
