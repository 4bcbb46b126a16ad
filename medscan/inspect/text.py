"""What `medscan doctor` and `medscan verify` print, line by line."""

from __future__ import annotations

from collections.abc import Iterator

from medscan.inspect.doctor import Health
from medscan.inspect.verify import Verification


def health_lines(health: Health) -> Iterator[str]:
    """Yield what a person reads of a machine's health, one thing per line."""
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
    for row in health.settings:
        yield f"setting   {row['name']} = {row['value']}  ({row['origin']})"
    for row in health.backbones:
        yield f"backbone  {row['name']}  {row['hash']}  {row['licence']}"
    for row in health.detectors:
        yield (
            f"detector  {row['name']}  {row['hash']}  {row['licence']}  {row['domain']}  "
            f"{row['method']} on {row['backbone']}  backbone: {row['backbone_licence']}"
        )
    yield from _syntaxes(health)
    yield from (f"note      {note}" for note in health.notes)
    if not health.problems:
        yield "a scan can run"


def _syntaxes(health: Health) -> Iterator[str]:
    decodable = [syntax for syntax in health.syntaxes if syntax.decoders]
    for syntax in decodable:
        decoders = ", ".join(f"{d.package} {d.version}" for d in syntax.decoders)
        yield f"decodes   {syntax.uid}  {syntax.name}  {decoders}"
    others = len(health.syntaxes) - len(decodable)
    yield f"decodes   none of {others} others, most of them video or retired; --json lists them"


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"


def verification_lines(verification: Verification) -> Iterator[str]:
    """Yield each problem, then what was checked."""
    yield from verification.problems
    yield (
        f"{verification.studies} studies, {verification.stacks} stacks, "
        f"{verification.slices} slices; "
        f"{verification.rescored} studies scored again: scores differ by at most "
        f"{verification.score_difference:.2g}, maps by {verification.map_difference:.2g}, "
        f"distances from shots by {verification.distance_difference:.2g}"
    )
    if verification.absent:
        yield f"{verification.absent} studies are absent since an earlier scan"
