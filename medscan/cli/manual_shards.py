"""Prose of the manual pages about archives that take more than one machine, in mdoc(7)."""

from __future__ import annotations

from medscan.cli.manual_base import Text

SHARDS = """
.Pp
.Fl -shard Cm 3/16
scans the third of sixteen shares of the studies, on whatever machine: the
shares are disjoint, together they are all, and they are the same everywhere.
Each needs an
.Fl -out
of its own, which brings a ledger, a lock and a worklist of its own;
.Xr medscan-report 1
reads all as one, and says which shards are missing.
All need the same
.Fl -key-file ,
for without it patients would have other pseudonyms in each.
A results file stays with its share: another
.Fl -shard
into the same file is refused, and so is none.
A file that belongs to no study is counted by the share that the hash of its
path falls into, so that the totals of all shares are those of one scan.
.Xr medscan-plan 1
shows the shares, and how to scan them on a cluster.
"""
"""Part of the description of a scan."""

BATCH = """\
#!/bin/bash
#SBATCH --job-name=medscan
#SBATCH --array=1-16
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@600
set -u
cd /scratch/medscan || exit
i=$SLURM_ARRAY_TASK_ID
n=${SHARDS:-$SLURM_ARRAY_TASK_COUNT}
out=shard-$i.h5
[ -e $out.ledger ] || cp index.h5.ledger $out.ledger
srun medscan scan /archive --shard $i/$n --out $out \\
    --key-file medscan.key --workers $((SLURM_CPUS_PER_TASK - 1))
code=$?
[ $code -eq 3 ] && code=0    # some files could not be read
exit $code
"""
"""A job of Slurm, one task a shard."""

START = """\
cd /scratch/medscan
medscan scan /archive --out index.h5 --key-file medscan.key --max-studies 1
medscan plan /archive --shards 16 --key-file medscan.key --ledger index.h5.ledger
job=$(sbatch --parsable medscan.sh)
sbatch --dependency=afterok:$job --wrap "medscan report shard-*.h5 --out report"
"""
"""What is done with it."""


def _literal(script: str) -> str:
    """A script as mdoc."""
    return f".Bd -literal -offset indent\n{script.replace(chr(92), chr(92) + 'e')}.Ed\n"


_PLAN = Text(
    brief="say how an archive divides into shards",
    description=r"""
.Nm
indexes each
.Ar archive
as
.Xr medscan-scan 1
does and prints, for every shard of as many as
.Fl -shards ,
its studies, the stacks and slices that a detector was fitted for, the bytes of
its files, and about how long its scan takes on this machine; then by how much
the largest exceeds the mean.
The time is measured on a few slices of the largest stack.
Everything counts, as if nothing were scanned yet;
.Cm medscan scan --dry-run --shard
tells what is left of one shard.
Nothing is written.
.Pp
The shard of a study is the SHA-256 of its StudyInstanceUID, of which the first
8 bytes are taken as a number, most significant first, modulo the number of
shards, plus 1.
A study without a UID is hashed by
.Li series:\&
and the UID of its series; without that, as volumes and pictures are, by
.Li path:\&
and its path below
.Ar archive .
No secret decides it, so that every machine comes to the same shares as long as
all name the same archives; only where a header has something in place of a UID
that is none, its hash is that of the results, keyed with the key file.
A study keeps its shard when files are added to it, and when archives grow.
.Pp
A shard walks the whole archive, for what a file belongs to is known from its
header only: on its first night it reads all headers, unless its ledger knows
them.
So read them once, by a scan of one study, and give every shard a copy of that
ledger to start with.
Memory is bounded by the files of the whole archive and by the slices of the
share:
.Xr medscan-scale 7
has the figures.
Where folders hold whole studies, by year for example, scans of the folders need
no shards.
""",
    examples=f"""
Scan an archive as an array job of Slurm, with the file
.Pa medscan.sh :
{_literal(BATCH)}.Pp
Headers are read once; the shards are looked at; then all are scanned, and one
report is made of all:
{_literal(START)}.Pp
The next night
.Cm sbatch medscan.sh
scans what is new.
.Ev SLURM_ARRAY_TASK_COUNT
counts the tasks that are submitted: to submit some of them again, say how many
shards there are:
.Pp
.Dl SHARDS=16 sbatch --array=3,7 medscan.sh
""",
)

TEXTS: dict[str, Text] = {"medscan-plan": _PLAN}
"""By page name."""
