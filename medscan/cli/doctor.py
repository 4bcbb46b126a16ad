"""`medscan doctor`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medscan.inspect import Health


def doctor(
    out: Annotated[Path, typer.Option(help="Results file that a scan would write.")] = Path(
        "results.h5"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say whether a scan can run here, what with, and which encodings it can read."""
    from medscan.errors import MedscanError

    try:
        from medscan.inspect import examine
        from medscan.text import printable
    except ImportError as error:  # a library is missing or damaged
        raise MedscanError(f"a scan cannot run: {error}") from error
    health = examine(out)
    text = "\n".join(printable(line) for line in _lines(health))
    typer.echo(json.dumps(asdict(health), indent=2) if as_json else text)
    if health.problems:
        raise MedscanError(f"a scan cannot run: {'; '.join(health.problems)}")


def _lines(health: Health) -> Iterator[str]:
    for name, version in health.versions.items():
        yield f"version   {name}  {version or 'missing'}"
    for device in health.devices:
        cores = f"  {device['cores']} cores" if "cores" in device else ""
        memory = f"{_gib(device['memory_bytes'])}, {_gib(device['free_bytes'])} free"
        batch = f"about {device['batch_size'] or 'no'} slices a batch"
        yield f"device    {device['name']}  {device['model']}{cores}  {memory}  {batch}"
    for use, folder in (("output   ", health.output), ("temporary", health.temporary)):
        writable = "writable" if folder["writable"] else "not writable"
        yield f"{use} {folder['folder']}  {writable}  {_gib(folder['free_bytes'])} free"
    yield f"time      {health.time['now']}  {health.time['zone']}"
    for row in health.backbones:
        yield f"backbone  {row['name']}  {row['hash']}  {row['licence']}"
    for row in health.detectors:
        yield (
            f"detector  {row['name']}  {row['hash']}  {row['licence']}  {row['domain']}  "
            f"{row['method']} on {row['backbone']}"
        )
    yield from _syntaxes(health)
    yield from (f"note      {note}" for note in health.notes)
    if not health.problems:
        yield "a scan can run"


def _syntaxes(health: Health) -> Iterator[str]:
    known = [syntax for syntax in health.syntaxes if syntax.decoders]
    for syntax in known:
        decoders = ", ".join(f"{d.package} {d.version}" for d in syntax.decoders)
        yield f"decodes   {syntax.uid}  {syntax.name}  {decoders}"
    others = len(health.syntaxes) - len(known)
    yield f"decodes   none of {others} others, most of them video or retired; --json lists them"


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"
