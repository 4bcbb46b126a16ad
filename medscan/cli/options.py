"""Options that several commands share, and the parsers that turn their text into values."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medscan.choices import FitPrecision, Plane, Precision, RuntimeName, Shard
from medscan.errors import UsageError
from medscan.links import parse_template
from medscan.text import printable

if TYPE_CHECKING:
    from medscan.archive import Stated

SIGNAL_EXITS = {"SIGINT": 130, "SIGTERM": 143}
"""Exit status by the signal that stopped a command."""

INPUT = "Input"
COMPUTE = "Compute"
PRIVACY = "Privacy"
BUDGET = "What to scan first, and how much"
OUTPUT = "Output"
"""Headings of `--help`."""

ENVIRONMENT = {
    "MEDSCAN_WEIGHTS": "Folders with backbones and, in detectors/, detectors, separated by colons. "
    "They are searched before all others.",
    "XDG_DATA_HOME": "Folder below which `medscan weights` keeps backbones, in medscan/weights. "
    "Default: ~/.local/share.",
    "MEDSCAN_CONFIG": "File with the defaults of the site; see medscan-config(5). Empty: none. "
    "Default: $XDG_CONFIG_HOME/medscan/medscan.toml, below ~/.config.",
    "MEDSCAN_KEY_FILE": "Key file of the site, unless --key-file names one.",
    "MEDSCAN_FEATURE_CACHE": "Gigabytes of features of labelled images that are kept for the next "
    "fit; 0: none. Default: 2.",
    "MEDSCAN_PACS_LOGIN": "File with what the PACS knows medscan by, unless --login names one.",
    "MEDSCAN_PACS_USER": "User at the PACS; counts more than the file.",
    "MEDSCAN_PACS_PASSWORD": "Password of that user.",
    "MEDSCAN_PACS_TOKEN": "Bearer token for the PACS, in place of a user.",
    "MEDSCAN_RUNTIME": "Runtime that --runtime auto stands for: torch or openvino.",
    "XDG_CACHE_HOME": "Folder below which features of labelled images, in medscan/features, and "
    "graphs of detectors, in medscan/graphs, are kept, for their owner alone. Default: ~/.cache.",
    "OMP_NUM_THREADS": "Number of cores that the model may use on a CPU.",
    "RAY_ADDRESS": "Head node of the Ray cluster for --engine ray, unless --address names one.",
}
"""Variables that commands read, for the manual."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _shown(text: Any) -> str:
    return printable(str(text), 80)


def option(heading: str, text: str, *names: str, **settings: Any) -> Any:
    """Return an option that `--help` lists under a heading."""
    return typer.Option(*names, help=text, rich_help_panel=heading, **settings)


def duration(option: str) -> Callable[[Any], float]:
    """Return a parser of lengths of time such as 90s, 15m, 2h or 1d, into seconds."""

    def parse(text: Any) -> float:
        match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd])", str(text).strip())
        if match is None and str(text).strip() != "0":
            raise UsageError(f"{option} {_shown(text)}: a number and s, m, h or d, such as 15m")
        return float(match[1]) * _SECONDS[match[2]] if match else 0.0

    return parse


def clock_time(text: Any) -> datetime.time:
    """Parse `--until`: a time of day, HH:MM."""
    match = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", str(text).strip())
    if match is None:
        raise UsageError(f"--until {_shown(text)}: a time of day, such as 06:00")
    return datetime.time(int(match[1]), int(match[2]))


def whole_number(option: str, word: str, least: int = 0) -> Callable[[Any], int | None]:
    """Return a parser of a whole number, or of a word that stands for None."""

    def parse(text: Any) -> int | None:
        if text == word:
            return None
        if not (str(text).isascii() and str(text).isdecimal() and int(text) >= least):
            above = " above 0" if least else ""
            raise UsageError(f"{option} {_shown(text)}: a whole number{above}, or {word}")
        return int(text)

    return parse


def shard(text: Any) -> Shard:
    """Parse `--shard`: I/N with 1 <= I <= N."""
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", str(text).strip(), re.ASCII)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard {_shown(text)}: I/N with I from 1 to N, such as 3/16")
    return Shard(int(match[1]), int(match[2]))


def gib(option: str) -> Callable[[Any], int]:
    """Return a parser of a number of GiB, into bytes."""

    def parse(text: Any) -> int:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0 < value < 1 << 20:
            raise UsageError(f"{option} {_shown(text)}: a number of GiB above 0")
        return max(1, int(value * (1 << 30)))

    return parse


def setting(text: Any) -> tuple[str, Any]:
    """Parse `--set`: `epochs=20` into ("epochs", 20); a value that is not JSON stays text."""
    name, equals, value = str(text).partition("=")
    if not equals:
        raise UsageError(f"--set {_shown(text)}: write NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def window(text: Any) -> tuple[str, str]:
    """Parse `--window`: `CT=window:-1000,400` into ("CT", "window:-1000,400")."""
    modality, equals, rule = str(text).partition("=")
    if not (modality and equals):
        raise UsageError(f"--window {_shown(text)}: MODALITY=RULE, such as CT=window:-1000,400")
    return modality.strip().upper(), rule


def existing(text: Any) -> Path:
    """Parse `--archive`: a folder or file that is there."""
    if not Path(text).exists():
        raise UsageError(f"--archive {text} does not exist")
    return Path(text)


def archive_option(purpose: str = "") -> Any:
    """Return the option `--archive` of commands that look source files up again."""
    text = f"Folder that was scanned{purpose}; may be repeated."
    return option(INPUT, text, parser=existing)


Archives = Annotated[list[Path], typer.Argument(help="Folders or files to scan.")]
Detectors = Annotated[
    list[Path] | None,
    option(INPUT, "Detector file, or name of a shipped one; may be repeated."),
]


def key_option(heading: str, text: str) -> Any:
    """Return the option `--key-file`; all commands look for an unnamed key in the same places."""
    where = "$MEDSCAN_KEY_FILE, or beside the results"
    return option(heading, text, envvar="MEDSCAN_KEY_FILE", show_default=where)


KeyFile = Annotated[
    Path | None, key_option(INPUT, "Key file of the scan, to find files by hashed paths.")
]
PlaneOption = Annotated[
    Plane | None,
    option(INPUT, "Plane to cut volume files in."),
]


def stated_fact(text: Any) -> tuple[str, str]:
    """Parse `--domain`: `modality=US` into ("modality", "US")."""
    name, equals, value = str(text).partition("=")
    if not (equals and value.strip()):
        raise UsageError(f"--domain {_shown(text)}: write NAME=VALUE, such as modality=US")
    return name, value


Domain = Annotated[
    list[Any] | None,
    option(
        INPUT,
        "What images that are not DICOM show, where nothing beside them says it: modality, "
        "body_part, sequence, view, plane or age; may be repeated.",
        metavar="NAME=VALUE",
        parser=stated_fact,
    ),
]


def left_out_word(text: Any) -> tuple[str, str]:
    """Parse `--leave-out`: `ImageType=LOCALIZER` into ("ImageType", "LOCALIZER")."""
    from medscan.archive import FACTS

    keyword, equals, word = str(text).partition("=")
    if not (equals and word.strip()):
        raise UsageError(
            f"--leave-out {_shown(text)}: write KEYWORD=WORD, such as ImageType=LOCALIZER"
        )
    known = [fact.keyword for fact in FACTS]
    if keyword not in known:
        near = get_close_matches(keyword[:80], known, 1)
        advice = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
        raise UsageError(f"--leave-out {_shown(text)}: no such keyword; {advice}")
    return keyword, word.strip()


LeaveOut = Annotated[
    list[Any] | None,
    option(
        INPUT,
        "Word in the header of series that are out of scope, such as ImageType=LOCALIZER; may be "
        "repeated.",
        metavar="KEYWORD=WORD",
        parser=left_out_word,
    ),
]


def stated_by(domain: list[tuple[str, str]] | None) -> Stated:
    """Return what `--domain` states.

    Raises
    ------
    UsageError
        If something of it is not understood.
    """
    from medscan.archive import stated_domain

    stated, wrong = stated_domain(dict(domain or ()))
    if wrong:
        raise UsageError(f"--domain {wrong[0]}")
    return stated


LinkTemplate = Annotated[
    str | None,
    option(
        OUTPUT,
        "Address to link each study to, such as "
        "https://viewer/studies/{StudyInstanceUID}; empty: none.",
        metavar="TEMPLATE",
        parser=parse_template,
        show_default="that of earlier results",
    ),
]
Device = Annotated[str, option(COMPUTE, "auto, cpu, cuda or cuda:N.")]
PrecisionOption = Annotated[
    Precision,
    option(
        COMPUTE,
        "Number format of the model; auto: the fastest in which it says the same.",
    ),
]
FitPrecisionOption = Annotated[
    FitPrecision,
    option(
        COMPUTE,
        "Number format of weights and activations; mixed: fp32, but training multiplies in bf16.",
    ),
]
RuntimeOption = Annotated[
    RuntimeName,
    option(COMPUTE, "Library that computes the model; auto: the fastest on this machine."),
]
BatchSize = Annotated[
    int | None,
    option(
        COMPUTE,
        "Slices per batch.",
        parser=whole_number("--batch-size", "auto", least=1),
        metavar="N|auto",
        show_default="auto",
    ),
]
Workers = Annotated[
    int,
    option(
        COMPUTE,
        "Processes that read headers and decode; at least one does.",
        min=0,
    ),
]
PACS = "The PACS"
LoginFile = Annotated[
    Path | None,
    option(
        PACS,
        "TOML file with what the PACS knows medscan by, for its owner alone.",
        show_default="$MEDSCAN_PACS_LOGIN, if it is set",
    ),
]
Timeout = Annotated[
    float,
    option(PACS, "Seconds to wait for the next bytes of an answer.", metavar="SECONDS", min=0.1),
]
Title = Annotated[
    str, option(PACS, "AE title of medscan, for AET@host:port.", "--aet", metavar="AET")
]
AsJson = Annotated[bool, option(OUTPUT, "Print JSON.", "--json")]
MaxFilePlanes = Annotated[int, option(INPUT, "Most planes of one file.", min=1)]
MaxStudyPlanes = Annotated[int, option(INPUT, "Most planes of one study.", min=1)]
MinSide = Annotated[int, option(INPUT, "Fewest rows and columns of a plane.", min=1)]
