"""`medscan evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from medscan.choices import PlotFormat, Precision, RuntimeName, Shard
from medscan.cli.options import INPUT, OUTPUT, Device, PrecisionOption, RuntimeOption, option, shard
from medscan.errors import UsageError

if TYPE_CHECKING:
    from medscan.evaluate import Comparison, EvaluateOptions
    from medscan.suites import Cell

SUITE = "Suite: a grid of methods, shots and data sets"

ALONE = (
    "detector",
    "split",
    "by",
    "protocol",
    "json",
    "csv",
    "plots",
    "draws",
    "seed",
    "precision",
    "runtime",
)
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
    by: Annotated[
        list[str] | None,
        option(
            INPUT,
            "Also show figures by these, divided by commas: columns of the manifest or cases.csv, "
            "or keywords of DICOM; may be repeated.",
            metavar="NAME,...",
        ),
    ] = None,
    draws: Annotated[int, option(INPUT, "Bootstrap samples for intervals.", min=0)] = 1000,
    seed: Annotated[int, option(INPUT, "Seed of the bootstrap.")] = 0,
    json: Annotated[Path | None, option(OUTPUT, "Write all figures to this JSON file.")] = None,
    csv: Annotated[
        Path | None, option(OUTPUT, "Write every slice's score to this CSV file.")
    ] = None,
    tables: Annotated[
        Path | None, option(OUTPUT, "Write all figures as CSV files to this folder.")
    ] = None,
    plots: Annotated[
        Path | None, option(OUTPUT, "Write curves and histograms of scores to this folder.")
    ] = None,
    plot_format: Annotated[PlotFormat, option(OUTPUT, "Format of the plots.")] = PlotFormat.SVG,
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
    precision: PrecisionOption = Precision.AUTO,
    runtime: RuntimeOption = RuntimeName.AUTO,
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
    outputs = _Outputs(json, csv, tables, plots, plot_format)
    outputs.check()
    from medscan.clip import choose_device
    from medscan.detector import find
    from medscan.evaluate import EvaluateOptions
    from medscan.outputs import keep_apart, labelled

    keep_apart({"--json": json, "--csv": csv}, [*map(find, detectors), *labelled(data)])
    names = [name.strip() for words in by or () for name in words.split(",") if name.strip()]
    options = EvaluateOptions(
        split,
        protocol,
        draws,
        seed,
        choose_device(device),
        precision,
        tuple(dict.fromkeys(names)),
        runtime,
    )
    measured = _measure(detectors, data, options)
    outputs.write(measured, {"data": data.resolve().name} | asdict(options))


class _Outputs(NamedTuple):
    """Files and folders asked for."""

    json: Path | None
    csv: Path | None
    tables: Path | None
    plots: Path | None
    plot_format: PlotFormat

    def check(self) -> None:
        """Refuse files in the place of folders, and folders in the place of files."""
        for name in ("json", "csv"):
            path: Path | None = getattr(self, name)
            if path is not None and path.is_dir():
                raise UsageError(f"--{name} {path}: it must be a file, not a folder")
        for name in ("tables", "plots"):
            path = getattr(self, name)
            if path is not None and path.exists() and not path.is_dir():
                raise UsageError(f"--{name} {path} is a file: name a folder")

    def write(self, measured: Comparison, request: dict[str, Any]) -> None:
        """Write them; folders are made."""
        from medscan import evaluate as room

        if self.json is not None:
            room.write_json(measured, request, self.json)
        if self.csv is not None:
            room.write_csv(measured, self.csv)
        if self.tables is not None:
            room.write_tables(measured, self.tables)
        if self.plots is not None:
            room.write_plots(measured, self.plots, self.plot_format)


def _refuse(context: typer.Context, options: tuple[str, ...], when: str) -> None:
    """Refuse options that would do nothing."""
    for param in context.command.params:
        source = context.get_parameter_source(str(param.name))
        given = source is not None and source.name == "COMMANDLINE"
        if given and param.opts[0][2:] in options:
            raise UsageError(f"{param.opts[0]} goes {when} --suite")


def _measure(detectors: list[Path], data: Path, options: EvaluateOptions) -> Comparison:
    """Measure detectors and print the figures."""
    from medscan import evaluate as room

    measured = room.evaluate(detectors, data, options, _bar)
    where = f"on {data.resolve().name}, {options.split}, {options.protocol}"
    for name, fitted, found in zip(
        measured.names, measured.detectors, measured.evaluations, strict=True
    ):
        _print(f"{name} ({fitted.method}) {where}", room.evaluation_table(found))
        for title, table in room.further_tables(found):
            _print(title, table)
    for title, table in room.pair_tables(measured):
        _print(title, table)
    if caution := room.clustering(measured):
        typer.echo(caution)
    return measured


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
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: name a folder")
    from medscan import suites as room
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
        for title, table in room.standing_tables(declared, room.standings_of(declared, records)):
            _print(title, table)
            typer.echo()
        room.write_table(rows, out / "table.csv")
        room.write_gaps(room.gaps_of(declared, records), out / "differences.csv")
        typer.echo(f"{count} cells, table.csv and differences.csv in {out}")
    else:
        typer.echo(f"{count} cells in {out}; without --shard table.csv is made of all")
