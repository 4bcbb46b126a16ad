"""Prose of the manual pages about scans that nobody watches, in mdoc(7)."""

from __future__ import annotations

from medscan.cli.manual_base import EXITS, Text

NIGHTS = """
.Pp
Each study is finished whole or not at all.
Whatever ends a scan, be it a signal, a full disk or a power cut, results are
the old ones or complete new ones, and the next scan goes on where it ended.
The ledger is made again from the results when it is lost or damaged; a damaged
one is kept as
.Pa NAME.damaged .
A damaged part is removed and its study scanned again.
The line at the end says so.
.Pp
One scan at a time uses a results file or a ledger.
Another one exits 75 and names the first: its process, host and start.
The lock of a process that has died is taken over; that of a scan on another
host once it has not been touched for ten minutes.
.Pp
A study is scanned again when its files have changed, come or gone, or when a
detector fits it that did not before.
What a file is known by is its size and its time of modification;
.Fl -paranoid
reads every file instead, and scans everything once when it is first given.
Results of a detector that was fitted anew under the same name, or of an older
preprocessing, are marked as stale and kept.
.Fl -rescan Cm stale
does them again,
.Fl -rescan Cm failed
those with a file that could not be decoded, and
.Fl -rescan Cm all
everything.
.Pp
Results whose files are gone are marked as absent since then.
An archive that is not mounted looks like one that was emptied: a study counts
as absent only while other files are found below the same
.Ar archive ,
and never because a folder could not be listed.
A study with a known file in such a folder is left for the next scan.
If an archive goes away during a scan, the scan ends there.
.Fl -prune Ar 30d
drops results that have been absent for so long, but none that the scan before
did not miss already.
.Pp
.Fl -until
and
.Fl -max-studies
end a scan after the study in hand, with exit status 0; the next scan goes on.
.Fl -until
is the next time that the local clock shows; a clock that is set back later does
not prolong the scan.
.Fl -order Cm newest
and
.Cm oldest
go by the date of the study, then by path; studies without a date come last.
Whatever the order, studies that are new or have changed come before those that
are done once more.
.Fl -rescan Cm all
and
.Cm failed
begin with the same studies every time: without a budget, they reach all.
.Pp
Reasons that may pass, such as a decoder that died, are tried again by every
scan.
A study whose decoder died or hung in three scans running is left alone until it
changes or
.Xr medscan-ledger 1
lets it out.
.Pp
When GPU memory runs out, batches become smaller.
When the GPU is lost, or the disk has no room for another study, what is
finished is published, the exit status is 1, and one line says why.
A scan keeps as much of the disk free as publishing needs: the size of the old
results and twice that of the new ones.
"""
"""Part of the description of a scan."""

TIMER = """
Scan every night at ten until six, as a line of
.Xr crontab 5 ;
cron sends a mail when a person is needed, and else none:
.Bd -literal -offset indent
0 22 * * *  medscan scan /archive --out /srv/night.h5 --until 06:00 >/dev/null
.Ed
.Pp
Or with
.Xr systemd.timer 5 .
In
.Pa /etc/systemd/system/medscan.service :
.Bd -literal -offset indent
[Unit]
Description=Scan the imaging archive
RequiresMountsFor=/archive

[Service]
Type=oneshot
User=medscan
UMask=0027
Nice=10
SuccessExitStatus=3
ExecStart=/usr/local/bin/medscan scan /archive --out /srv/night.h5 --settle 15m --until 06:00
TimeoutStartSec=8h
TimeoutStopSec=10min
.Ed
.Pp
and in
.Pa /etc/systemd/system/medscan.timer :
.Bd -literal -offset indent
[Unit]
Description=Scan the imaging archive every night

[Timer]
OnCalendar=22:00
Persistent=true

[Install]
WantedBy=timers.target
.Ed
.Pp
then
.Cm systemctl enable --now medscan.timer .
"""
"""Examples of how to scan every night."""

_LEDGER = Text(
    brief="show what scans know, and let studies out of quarantine",
    description="""
A scan notes in the ledger beside its results file what is done and what went
wrong.
A study whose decoder died or hung in three scans running is in quarantine:
scans leave it alone until it changes, or until it is let out.
.Pp
Studies are named by their keys, as in
.Xr medscan-results 5 .
Changes wait for no scan: while one runs, they exit 75.
.Cm forget
removes a finished result that no scan has published yet, too.
.Pp
.Cm show
prints the number of studies that are done, stale and absent, and then a line a
study whose decoder died: in how many scans running, whether it is quarantined
or tried again, its key, and what happened last.
""",
    files="""
.Bl -tag -width Ds
.It Pa results.h5.ledger
An SQLite database.
Nothing in it is lost with it: it is made again from the results, except that
all studies are out of quarantine.
.El
""",
    exits=EXITS.replace(".It 130\n", ".It 75\nA scan is running; try again later.\n.It 130\n"),
    examples="""
.Bd -literal -offset indent
medscan ledger show /srv/night.h5
medscan ledger retry /srv/night.h5
.Ed
""",
)

TEXTS: dict[str, Text] = {"medscan-ledger": _LEDGER}
"""By page name."""
