"""`medscan weights`: backbones and detectors on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medscan.cli.help import Command, Group

if TYPE_CHECKING:
    from medscan.clip import Bundle
    from medscan.detector import Detector

VIT = "ViT-L-14-336-quickgelu/openai"

weights = typer.Typer(
    cls=Group,
    help="Manage the backbones and detectors on this machine.",
    no_args_is_help=True,
)


@weights.command(cls=Command)
def pull(
    name: Annotated[
        str,
        typer.Argument(
            help="ARCHITECTURE/TAG as open_clip names it, timm:NAME, or hf-hub:OWNER/MODEL."
        ),
    ],
) -> None:
    """Download a backbone."""
    from medscan import backbones

    typer.echo(f"fetching {name} from the Hugging Face hub")
    bundle = backbones.pull(name)
    typer.echo(_kept(bundle))


@weights.command("import", cls=Command)
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="A .safetensors file, OpenAI's .pt, or an open_clip, timm or transformers folder."
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            help="Name to keep it under: ARCHITECTURE/TAG as open_clip names it, or timm:NAME."
        ),
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(help="SHA-256 that the file must have; a .pt file is trusted only by it."),
    ] = None,
) -> None:
    """Add a backbone from a file."""
    from medscan import backbones

    bundle = backbones.import_file(file, name=name, digest=sha256)
    typer.echo(_kept(bundle))


@weights.command("list", cls=Command)
def list_(
    available: Annotated[
        bool,
        typer.Option("--available", help="List what can be pulled or imported, from a table."),
    ] = False,
) -> None:
    """List backbones and detectors with their licences."""
    from medscan import backbones, detector
    from medscan.clip import bundles, licence_of
    from medscan.text import printable

    if available:
        typer.echo("\n".join(backbones.available_lines()))
        return
    for bundle in bundles():
        typer.echo(f"backbone  {bundle.name}  {printable(bundle.licence)}  {bundle.folder}")
    for path in detector.shipped():
        one = detector.read(path)
        licence = one.backbone_licence or licence_of(one.backbone)
        typer.echo(
            f"detector  {one.name}  {one.domain}  {one.method} on {one.backbone}  "
            f"{one.licence}  backbone: {printable(licence)}  {path}{_lineage(one)}"
        )


def _kept(bundle: Bundle) -> str:
    """Say where a new backbone is, and what its tokens were compared with."""
    from medscan.text import printable

    facts = bundle.origin
    return (
        f"{bundle.name} kept in {bundle.folder}, SHA-256 {facts['sha256']}; licence: "
        f"{printable(bundle.licence, 80)}; same tokens as {facts['compared']}"
    )


def _lineage(detector: Detector) -> str:
    """Say what a detector was made from, newest first."""
    from medscan.text import printable

    parents = (f"{a.name} {a.digest[:12]} by {a.verdicts} verdicts" for a in detector.lineage)
    text = ", made from ".join(reversed(list(parents)))
    return f"  made from {printable(text)}" if text else ""


@weights.command(cls=Command)
def verify(
    name: Annotated[
        str | None, typer.Argument(help="Backbone to verify.", show_default="all of them")
    ] = None,
) -> None:
    """Check that backbones still have the hashes recorded when they were added."""
    from medscan import backbones
    from medscan.clip import bundles, find

    for bundle in [find(name)] if name else bundles():
        typer.echo(f"{bundle.name}: {backbones.verify(bundle)}")
