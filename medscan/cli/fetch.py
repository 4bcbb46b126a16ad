"""`medscan fetch`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medscan.cli.logs import conclude, progressing
from medscan.cli.options import (
    INPUT,
    OUTPUT,
    PACS,
    AsJson,
    Detectors,
    LoginFile,
    Timeout,
    Title,
    gib,
    option,
)
from medscan.files import private_files
from medscan.text import printable

if TYPE_CHECKING:
    from medscan.fetching import Spool


def fetch(
    pacs: Annotated[
        str,
        typer.Argument(help="DICOMweb address, such as https://pacs/dicom-web, or AET@host:port."),
    ],
    into: Annotated[
        Path, option(OUTPUT, "Folder for the studies; their ledger is beside it, in FOLDER.fetch.")
    ],
    since: Annotated[
        str | None,
        option(
            INPUT,
            "First study date: today, yesterday, 3d for three days ago, or a date.",
            metavar="DAY",
        ),
    ] = None,
    until: Annotated[str | None, option(INPUT, "Last study date.", metavar="DAY")] = None,
    modality: Annotated[
        list[str] | None, option(INPUT, "Modality of series, such as MR; may be repeated.")
    ] = None,
    description: Annotated[
        list[str] | None,
        option(
            INPUT,
            "Pattern of series descriptions, such as '*FLAIR*', in any case; may be repeated.",
            metavar="GLOB",
        ),
    ] = None,
    study: Annotated[
        list[str] | None,
        option(INPUT, "Only the study of this StudyInstanceUID; may be repeated.", metavar="UID"),
    ] = None,
    detector: Detectors = None,
    login: LoginFile = None,
    title: Title = "MEDSCAN",
    port: Annotated[
        int,
        option(
            PACS,
            "Port of this machine that AET@host:port sends to, as it knows it.",
            min=1,
            max=65535,
        ),
    ] = 11112,
    timeout: Timeout = 60.0,
    max_gib: Annotated[
        int | None,
        option(
            OUTPUT,
            "Most that the folder may hold.",
            metavar="GIB",
            parser=gib("--max-gib"),
            show_default="what the disk holds",
        ),
    ] = None,
    forget: Annotated[
        list[Path] | None,
        option(
            OUTPUT,
            "First remove the studies that this results file holds from the folder; may be "
            "repeated.",
            metavar="RESULTS",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Copy studies from a PACS into a folder, to be scanned there."""
    from medscan.chosen import read_detectors
    from medscan.fetching import Wish, days, opened_spool
    from medscan.fetching import fetch as copy
    from medscan.pacs import Archive, Peer, Web, own_title, peer, read_login, web_address

    known = read_login(login)
    target = web_address(pacs, known) if "://" in pacs else peer(pacs)
    own = own_title(title)
    first, last = days(since, until)
    wish = Wish(
        first,
        last,
        tuple(word.strip().upper() for word in modality or ()),
        tuple(description or ()),
        tuple(study or ()),
        tuple(one for _, one in read_detectors(detector)),
    )
    wish.check()
    with private_files(True), opened_spool(into) as spool:
        forgotten = [_forgotten(spool, results, said=not as_json) for results in forget or ()]
        source: Archive | Web
        if isinstance(target, Peer):
            source = Archive(target, own, known, timeout, port, spool.aside)
        else:
            source = Web(target, known, timeout)
        try:
            with progressing("objects", "problems") as watch:
                done = copy(source, spool, wish, max_gib, watch)
        finally:
            source.close()
    told = asdict(done) | {"forgotten": {"studies": sum(s for s, _ in forgotten)}}
    typer.echo(json.dumps(told) if as_json else done.line())
    conclude(done.problems, done.stopped, incomplete=bool(done.problems))


def _forgotten(spool: Spool, results: Path, *, said: bool) -> tuple[int, int]:
    """Forget the studies that a results file holds; none before the first scan."""
    from medscan.fetching import forget

    there = results.exists()
    studies, objects = forget(spool, results) if there else (0, 0)
    if said:
        line = f"{studies} studies with {objects} objects forgotten"
        typer.echo(line if there else f"{line}: there is no {printable(str(results))} yet")
    return studies, objects
