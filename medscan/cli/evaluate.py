"""`medscan evaluate`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medscan.choices import Precision
from medscan.cli.options import Device, PrecisionOption

if TYPE_CHECKING:
    from medscan.evaluate import Evaluation, SuiteRow
    from medscan.metrics import Estimate


ALONE = ("split", "protocol", "json", "csv", "plots", "draws", "seed", "precision")
IN_SUITE = ("root", "out", "shard")
"""Options that only go without, or only with, --suite."""


def evaluate(
    context: typer.Context,
    detector: Annotated[
        Path | None, typer.Argument(help="Detector file, or the name of a shipped one.")
    ] = None,
    data: Annotated[
        Path | None, typer.Argument(help="Folder or CSV manifest of labelled images.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="test, or rest: every patient that gave no shot.")
    ] = "test",
    protocol: Annotated[
        str, typer.Option(help="clean, or paper: scaled by the test set, as published.")
    ] = "clean",
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write every slice's score to this file.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Write roc.svg and precision-recall.svg to this folder.")
    ] = None,
    draws: Annotated[int, typer.Option(min=0, help="Of the bootstrap over patients.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    suite: Annotated[
        str | None, typer.Option(help="Measure a grid that this TOML file declares; bmad is one.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder that the suite's paths start at.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the suite's cells and table.")
    ] = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Measure part I of N of the suite's cells.")
    ] = "1/1",
    device: Device = "auto",
    precision: PrecisionOption = Precision.FP32,
) -> None:
    """Measure a detector on labelled data, or a grid of methods on several data sets."""
    from medscan.errors import UsageError

    if suite is None:
        _refuse(context, IN_SUITE, "only with")
    else:
        _refuse(context, ALONE, "not with")
        if detector is not None or out is None:
            raise UsageError("--suite takes no detector but needs --out FOLDER for its cells")
        _run_suite(suite, root, out, shard, device)
        return
    if detector is None or data is None:
        raise UsageError("name a detector and the data to measure it on, or give --suite FILE")
    for option, path in (("--json", json), ("--csv", csv)):
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            raise UsageError(f"{option} {path}: its folder must exist and it must be a file")
    if plots is not None and not plots.is_dir():
        raise UsageError(f"--plots {plots} is no folder; make it first")
    from medscan.clip import choose_device
    from medscan.evaluate import EvaluateOptions

    asked = EvaluateOptions(split, protocol, draws, seed, choose_device(device), precision.value)
    _measure(detector, data, asked, json, csv, plots)


def _refuse(context: typer.Context, options: tuple[str, ...], when: str) -> None:
    """Say that an option would do nothing instead of ignoring it."""
    from medscan.errors import UsageError

    for name in options:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"--{name} goes {when} --suite")


def _measure(
    detector: Path, data: Path, asked: Any, json: Path | None, csv: Path | None, plots: Path | None
) -> None:
    from dataclasses import asdict

    from medscan import evaluate as room

    fitted, found = room.evaluate(detector, data, asked, _bar)
    name = data.resolve().name
    _show(f"{fitted.name} ({fitted.method}) on {name}, {asked.split}, {asked.protocol}", found)
    if json is not None:
        room.write_json(fitted, found, {"data": name} | asdict(asked), json)
    if csv is not None:
        room.write_csv(found, csv)
    if plots is not None:
        room.write_plots(found, plots)


def _bar(slices: Iterator[Any], files: int) -> Iterator[Any]:
    from tqdm import tqdm

    return iter(tqdm(slices, total=files, unit="slice", disable=None, leave=False))


def _show(title: str, found: Evaluation) -> None:
    """A column for each level that there is; intervals beside the figures."""
    levels = {"slices": found.slices, "studies": found.studies, "pixels": found.pixels}
    known = {name: level for name, level in levels.items() if level is not None}
    table = [["", *known], ["abnormal", *(_counts(level) for level in known.values())]]
    for label, field in (
        ("AUROC", "auroc"),
        ("average precision", "average_precision"),
        ("AUPRO (FPR 0.3)", "aupro"),
        ("F1, best", "f1_max"),
        ("sensitivity", "sensitivity"),
        ("specificity", "specificity"),
        ("calibration error", "calibration_error"),
    ):
        values = [_estimate(getattr(level, field, None)) for level in known.values()]
        if any(v != "-" for v in values):
            table.append([label, *values])
    _print(title, table)


def _print(title: str, table: list[list[str]]) -> None:
    """A table whose first line is its head; nothing in it acts as markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from medscan.text import printable

    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    # Numbers are never cut: a narrow terminal wraps the lines.
    width = max(Console().width, sum(widths) + len(widths))
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    for place, name in enumerate(table[0]):
        shown.add_column(name, justify="right" if place else "left", no_wrap=True)
    for line in table[1:]:
        shown.add_row(*line)
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    console.print(printable(title), style="bold", soft_wrap=True)
    console.print(shown)


def _counts(level: Any) -> str:
    if hasattr(level, "regions"):
        return f"{level.regions} regions"
    return f"{level.abnormals} of {level.normals + level.abnormals}"


def _estimate(value: Estimate | None) -> str:
    if value is None or math.isnan(value.value):
        return "-"
    if math.isnan(value.low):
        return f"{value.value:.3f}"
    return f"{value.value:.3f} ({value.low:.3f}-{value.high:.3f})"


def _run_suite(name: str, root: Path | None, out: Path, shard: str, device: str) -> None:
    from medscan.errors import UsageError

    part = _part(shard)
    if not out.parent.is_dir() or (out.exists() and not out.is_dir()):
        raise UsageError(f"--out {out}: it must be a folder, in one that exists")
    from medscan.clip import choose_device
    from medscan.evaluate import cells_of, find_suite, read_suite, rows_of, run_suite, write_table

    declared = read_suite(find_suite(name), root)
    count = len(cells_of(declared)[part[0] - 1 :: part[1]])
    records = list(run_suite(declared, out, device=choose_device(device), shard=part, told=_told))
    rows = rows_of(declared, records)
    _show_rows(rows)
    if part == (1, 1):
        write_table(rows, out / "table.csv")
        typer.echo(f"{count} cells and table.csv in {out}")
    else:
        typer.echo(f"{count} cells in {out}; without --shard table.csv is made of all")


def _part(text: str) -> tuple[int, int]:
    """`2/4` -> (2, 4)."""
    from medscan.errors import UsageError

    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise UsageError(f"--shard {text}: write I/N with I from 1 to N")
    return int(part), int(parts)


def _told(cell: Any, record: dict[str, Any]) -> None:
    """A line for each cell that was measured just now."""
    found = {word: record[part] for word, part in (("image", "slices"), ("pixel", "pixels"))}
    values = {word: part["auroc"]["value"] for word, part in found.items() if part}
    text = ", ".join(f"{w} AUROC {'-' if v is None else f'{v:.3f}'}" for w, v in values.items())
    typer.echo(
        f"{cell.name}: {text}; fit {record['fit_seconds']:.0f} s, "
        f"test {record['test_seconds']:.0f} s",
        err=True,
    )


def _show_rows(rows: list[SuiteRow]) -> None:
    """A table for each data set, of the figures that it has."""
    from itertools import groupby

    from medscan.evaluate import FIGURES, shown

    names = {"image_auroc": "image AUROC", "image_ap": "image AP", "f1_max": "best F1"}
    names |= {"pixel_auroc": "pixel AUROC", "aupro": "AUPRO"}
    for data, group in groupby(rows, lambda row: row.data):
        members = list(group)
        columns = [f for f in FIGURES if any(not math.isnan(r.mean[f]) for r in members)]
        table = [["", "K", "n", *(names[f] for f in columns)]]
        for row in members:
            figures = [shown(row.mean[f], row.spread[f]) for f in columns]
            shots = "" if row.shots is None else str(row.shots)
            reference = "  published" if shots else row.method.strip("()")
            table.append(
                [row.method if row.draws else reference, shots, str(row.draws or ""), *figures]
            )
        _print(data, table)
        typer.echo()


__all__ = ["evaluate"]
