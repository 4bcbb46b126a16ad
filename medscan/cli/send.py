"""`medscan send`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medscan.cli.logs import conclude, progressing
from medscan.cli.options import OUTPUT, PACS, AsJson, LoginFile, Timeout, Title, option
from medscan.errors import UsageError
from medscan.files import private_files

if TYPE_CHECKING:
    from medscan.pacs import Login, Node, Web


def send(
    objects: Annotated[
        list[Path], typer.Argument(help="Folders or files that `medscan export` wrote.")
    ],
    to: Annotated[
        str,
        option(
            PACS,
            "DICOMweb address, such as https://pacs/dicom-web, or AET@host:port.",
            metavar="PACS",
        ),
    ],
    login: LoginFile = None,
    title: Title = "MEDSCAN",
    timeout: Timeout = 60.0,
    new_studies: Annotated[
        bool,
        option(PACS, "Send objects although the PACS does not have their study.", "--new-studies"),
    ] = False,
    ledger: Annotated[
        Path | None,
        option(OUTPUT, "Ledger of what was sent.", show_default="FOLDER.sent, beside the objects"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Store exported objects in a PACS, each once."""
    from medscan.pacs import find_objects, opened
    from medscan.sending import TABLES, ledger_beside
    from medscan.sending import send as deliver

    for path in objects:
        if not path.exists():
            raise UsageError(f"{path} does not exist; name what `medscan export` wrote")
    book = ledger or ledger_beside(objects)
    if book is None:
        raise UsageError("the objects lie in several folders: name a --ledger")
    name, target = _target(to, login, title, timeout)
    with private_files(True), opened(book, TABLES) as database:
        try:
            with progressing("objects", "problems") as watch:
                found = find_objects(objects)
                done = deliver(found, target, name, database, new_studies=new_studies, watch=watch)
        finally:
            target.close()
    typer.echo(json.dumps(asdict(done)) if as_json else done.line())
    conclude(done.problems, done.stopped, incomplete=bool(done.refused))


def _target(to: str, login: Path | None, title: str, timeout_s: float) -> tuple[str, Web | Node]:
    """Return the PACS, and the name that the ledger has for it."""
    from medscan.pacs import Node, Web, own_title, peer, read_login, web_address

    known: Login = read_login(login)
    if "://" in to:
        address = web_address(to, known)
        return address.url, Web(address, known, timeout_s)
    node = peer(to)
    return node.host, Node(node, own_title(title), known, timeout_s)
