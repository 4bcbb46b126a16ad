"""`medscan weights`: backbones and detectors on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medscan.detector import Detector

weights = typer.Typer(help="Backbones and detectors on this machine.", no_args_is_help=True)


@weights.command()
def pull(
    name: Annotated[str, typer.Argument(help="ARCHITECTURE/TAG by open_clip, or hf-hub:OWNER/X.")],
) -> None:
    """Fetch a backbone from the network; no other command ever does."""
    from medscan.clip import fetch

    typer.echo(f"fetching {name} from the Hugging Face hub")
    bundle = fetch.pull(name)
    typer.echo(f"{bundle.name} kept in {bundle.folder}, SHA-256 {bundle.origin['sha256']}")


@weights.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="OpenAI .pt, .safetensors, or local-dir folder.")],
    name: Annotated[
        str | None, typer.Option(help="ARCHITECTURE/TAG to keep it under, by open_clip's names.")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(help="SHA-256 that the file must have; vouches for a .pt file.")
    ] = None,
) -> None:
    """Keep a backbone that was carried in as a file."""
    from medscan.clip import fetch

    bundle = fetch.import_file(file, name=name, digest=sha256)
    typer.echo(f"{bundle.name} kept in {bundle.folder}, SHA-256 {bundle.origin['sha256']}")


@weights.command("list")
def list_() -> None:
    """List backbones and shipped detectors with their licences."""
    from medscan import detector
    from medscan.clip import bundles

    for bundle in bundles():
        licence = bundle.origin.get("licence", "licence unknown")
        typer.echo(f"backbone  {bundle.name}  {licence}  {bundle.folder}")
    for path in detector.shipped():
        found = detector.read(path)
        typer.echo(
            f"detector  {found.name}  {found.domain}  {found.method} on {found.backbone}  "
            f"{found.licence}  {path}{_lineage(found)}"
        )


def _lineage(detector: Detector) -> str:
    """What a detector was made of, newest first."""
    from medscan.text import printable

    parents = (f"{a.name} {a.digest[:12]} by {a.verdicts} verdicts" for a in detector.lineage)
    told = ", made from ".join(reversed(list(parents)))
    return f"  made from {printable(told)}" if told else ""


@weights.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="Backbone; default: every one.")] = None,
) -> None:
    """Compare the hashes of backbones with those recorded when they were kept."""
    from medscan.clip import bundles, fetch, find

    for bundle in [find(name)] if name else bundles():
        typer.echo(f"{bundle.name}: {fetch.verify(bundle)}")
