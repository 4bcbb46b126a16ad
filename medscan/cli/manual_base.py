"""What every manual page is made of, and sections that several share."""

from __future__ import annotations

from dataclasses import dataclass

DATE = "November 22, 2026"


@dataclass(frozen=True, slots=True)
class Text:
    """Hand-written parts of a page, each the body of a section or list."""

    brief: str
    description: str = ""
    files: str = ""
    exits: str = ""
    examples: str = ""


EXITS = """
.Bl -tag -width Ds -compact
.It 0
Done.
.It 1
Failed: the message says what could not be read or written.
.It 2
Wrong usage: the message says what to change; nothing was written.
.It 130
Stopped by the interrupt signal.
.El
"""
"""EXIT STATUS of commands that say nothing else."""

ENVIRONMENT = """
.Bl -tag -width Ds
.It Ev MEDSCAN_WEIGHTS
Folders with backbones and, in
.Pa detectors/ ,
detectors, separated by colons.
They are searched first.
.It Ev XDG_DATA_HOME
Where
.Cm medscan weights
keeps backbones, in
.Pa medscan/weights .
Default:
.Pa ~/.local/share .
.El
"""

SCAN_EXITS = """
.Bl -tag -width Ds -compact
.It 0
Done.
.It 1
Failed: the message says what could not be read or written.
.It 2
Wrong usage: the message says what to change; nothing was written.
.It 3
Done, but some files could not be read; the report lists them.
.It 75
Another scan holds the results file, or there is no Ray cluster to scan on; try
again later.
.It 130 , 143
Stopped by the interrupt or termination signal; finished work was kept.
.El
"""
"""EXIT STATUS of a scan."""
