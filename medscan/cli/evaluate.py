"""`medscan evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medscan.choices import Precision, Shard
from medscan.cli.options import INPUT, OUTPUT, Device, PrecisionOption, option, shard
from medscan.errors import UsageError

if TYPE_CHECKING:
    from medscan.evaluate import Cell, EvaluateOptions

SUITE = "Suite: a grid of methods, shots and data sets"

ALONE = ("detector", "split", "protocol", "json", "csv", "plots", "draws", "seed", "precision")
IN_SUITE = ("root", "out", "shard")
"""Options that only go without, or only with, --suite."""


def evaluate(
    context: typer.Context,
    detector: Annotated[
        Path | None,
        typer.Argument(help="Detector file, or name of a shipped one; or only in --detector."),
    ] = None,
    data: Annotated[
        Path | None, typer.Argument(help="Folder or CSV manifest of labelled images.")
    ] = None,
    others: Annotated[
        list[Path] | None,
        option(INPUT, "Detector to compare; may be repeated.", "--detector", metavar="DETECTOR"),
    ] = None,
    split: Annotated[
        str,
        option(
            INPUT,
            "test, or rest: all patients who gave no shot.",
            autocompletion=lambda: ["test", "rest"],
        ),
    ] = "test",
    protocol: Annotated[
        str,
        option(
            INPUT,
            "clean, or paper: scores scaled by the test set, as published.",
            autocompletion=lambda: ["clean", "paper"],
        ),
    ] = "clean",
    draws: Annotated[int, option(INPUT, "Bootstrap samples for intervals.", min=0)] = 1000,
    seed: Annotated[int, option(INPUT, "Seed of the bootstrap.")] = 0,
    json: Annotated[Path | None, option(OUTPUT, "Write all figures to this JSON file.")] = None,
    csv: Annotated[
        Path | None, option(OUTPUT, "Write every slice's score to this CSV file.")
    ] = None,
    plots: Annotated[
        Path | None, option(OUTPUT, "Write roc.svg and precision-recall.svg to this folder.")
    ] = None,
    suite: Annotated[
        str | None,
        option(SUITE, "Measure the grid declared in this TOML file, or the shipped one, bmad."),
    ] = None,
    root: Annotated[
        Path | None,
        option(
            SUITE,
            "Folder that paths in the suite are relative to.",
            show_default="that of the file",
        ),
    ] = None,
    out: Annotated[Path | None, option(SUITE, "Folder for the suite's cells and table.")] = None,
    part: Annotated[
        Shard,
        option(
            SUITE,
            "Measure the I-th of N parts of the suite's cells, from 1.",
            "--shard",
            metavar="I/N",
            parser=shard,
        ),
    ] = Shard(1, 1),
    device: Device = "auto",
    precision: PrecisionOption = Precision.FP32,
) -> None:
    """Measure a detector on labelled data, or a grid of methods on several data sets."""
    if suite is not None:
        _refuse(context, ALONE, "not with")
        if detector is not None or out is None:
            raise UsageError("--suite takes no detector but needs --out FOLDER for its cells")
        _run_suite(suite, root, out, part, device)
        return
    _refuse(context, IN_SUITE, "only with")
    if data is None and others:
        detector, data = None, detector
    detectors = [path for path in (detector, *(others or ())) if path is not None]
    if data is None:
        raise UsageError("name a detector and the data to measure it on, or give --suite FILE")
    for name, path in (("--json", json), ("--csv", csv)):
        if path is not None and path.is_dir():
            raise UsageError(f"{name} {path}: it must be a file, not a folder")
    if plots is not None and plots.exists() and not plots.is_dir():
        raise UsageError(f"--plots {plots} is a file: name a folder")
    from medscan.clip import choose_device
    from medscan.evaluate import EvaluateOptions

    options = EvaluateOptions(split, protocol, draws, seed, choose_device(device), precision.value)
    _measure(detectors, data, options, json, csv, plots)


def _refuse(context: typer.Context, options: tuple[str, ...], when: str) -> None:
    """Refuse options that would do nothing."""
    for param in context.command.params:
        source = context.get_parameter_source(str(param.name))
        given = source is not None and source.name == "COMMANDLINE"
        if given and param.opts[0][2:] in options:
            raise UsageError(f"{param.opts[0]} goes {when} --suite")


def _measure(
    detectors: list[Path],
    data: Path,
    options: EvaluateOptions,
    json: Path | None,
    csv: Path | None,
    plots: Path | None,
) -> None:
    """Measure detectors, print the figures, and write the files asked for."""
    from dataclasses import asdict

    from medscan import evaluate as room
    from medscan.files import make_folder

    measured = room.evaluate(detectors, data, options, _bar)
    evaluations = [found for _, found in measured]
    names, name = room.unique_names(measured), data.resolve().name
    for title, (fitted, found) in zip(names, measured, strict=True):
        where = f"on {name}, {options.split}, {options.protocol}"
        _print(f"{title} ({fitted.method}) {where}", room.evaluation_table(found))
        if (lesions := room.lesion_table(found)) is not None:
            _print(*lesions)
    pairs = room.compare(evaluations, options.draws, options.seed)
    for pair in pairs:
        _print(f"{names[pair.first]} minus {names[pair.second]}", room.pair_table(pair))
    if pairs and (caution := room.clustering(evaluations[0])):
        typer.echo(caution)
    for folder in (json and json.parent, csv and csv.parent, plots):
        if folder is not None:
            make_folder(folder)
    if json is not None:
        room.write_json(measured, pairs, {"data": name} | asdict(options), json)
    if csv is not None:
        room.write_csv(measured, csv)
    if plots is not None:
        room.write_plots(evaluations[0], plots)


def _bar(slices: Iterator[Any], files: int) -> Iterator[Any]:
    from tqdm import tqdm

    return iter(tqdm(slices, total=files, unit="slice", disable=None, leave=False))


def _print(title: str, table: list[list[str]]) -> None:
    """Print a table whose first line is its head; nothing in it acts as markup."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from medscan.text import printable

    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    # Numbers are never cut: a narrow terminal wraps the lines.
    width = max(Console().width, sum(widths) + len(widths))
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    for number, name in enumerate(table[0]):
        shown.add_column(name, justify="right" if number else "left", no_wrap=True)
    for line in table[1:]:
        shown.add_row(*line)
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    console.print(printable(title), style="bold", soft_wrap=True)
    console.print(shown)


def _run_suite(name: str, root: Path | None, out: Path, part: Shard, device: str) -> None:
    if not out.parent.is_dir() or (out.exists() and not out.is_dir()):
        raise UsageError(f"--out {out}: it must be a folder, in one that exists")
    from medscan import evaluate as room
    from medscan.clip import choose_device

    def show(cell: Cell, record: dict[str, Any]) -> None:
        typer.echo(room.cell_line(cell, record), err=True)

    declared = room.read_suite(room.find_suite(name), root)
    count = len(room.cells_of(declared)[part.number - 1 :: part.count])
    shares, on = (part.number, part.count), choose_device(device)
    records = list(room.run_suite(declared, out, device=on, shard=shares, on_record=show))
    rows = room.rows_of(declared, records)
    for data, table in room.suite_tables(rows):
        _print(data, table)
        typer.echo()
    if part.count == 1:
        room.write_table(rows, out / "table.csv")
        typer.echo(f"{count} cells and table.csv in {out}")
    else:
        typer.echo(f"{count} cells in {out}; without --shard table.csv is made of all")
