"""The manual pages: `python -m medscan.cli.manual DIR` writes them.

Synopsis and options come from the command tree, everything else from the modules named
`manual_...`.
medscan-results.5 is written by hand in DIR; only its lists of reasons and of columns are filled in.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from medscan.archive import REASONS
from medscan.cli import (
    manual_learn,
    manual_nights,
    manual_scan,
    manual_shards,
    manual_show,
    manual_text,
)
from medscan.cli.manual_base import DATE, ENVIRONMENT, EXITS, Text
from medscan.report import TABLES

RESULTS = "medscan-results.5"
TEXTS = (
    manual_text.TEXTS
    | manual_scan.TEXTS
    | manual_nights.TEXTS
    | manual_shards.TEXTS
    | manual_show.TEXTS
    | manual_learn.TEXTS
)


def pages(command: Any) -> dict[str, str]:
    """Manual pages of section 1 by file name, in mdoc(7).

    Parameters
    ----------
    command : typer.core.TyperGroup
        What `typer.main.get_command` gives.
    """
    name = command.name
    found = {f"{name}.1": _page(name, command)}
    for sub, child in sorted(command.commands.items()):
        found[f"{name}-{sub}.1"] = _page(f"{name} {sub}", child)
    return found


def results_page(text: str) -> str:
    """medscan-results.5 with its lists of reasons and of columns filled in."""
    rows = "".join(
        f".It Cm {reason} Pq {bucket}\n{_prose(f'{why[0].upper()}{why[1:]}.')}\n"
        for reason, (bucket, why) in REASONS.items()
    )
    text = _filled(text, "reasons", rows)
    for name, table in TABLES.items():
        columns = (f".It Va {c}\n{_prose(words)}\n" for c, words in table.columns.items())
        text = _filled(text, f"{name}.csv", "".join(columns))
    return text


def _filled(text: str, name: str, rows: str) -> str:
    """The text with rows between the comments that name them."""
    name = re.escape(name)
    between = rf'(?<=\.\\" {name}: generated\n).*?(?=\.\\" end of {name}\n)'
    return re.sub(between, lambda _: rows, text, flags=re.DOTALL)


def _page(words: str, command: Any) -> str:
    dashed = words.replace(" ", "-")
    text = TEXTS.get(dashed, Text(brief=command.help or words))
    sections = {
        "NAME": f".Nm {dashed}\n.Nd {text.brief}",
        "SYNOPSIS": "\n".join(_synopsis(words, command)),
        "DESCRIPTION": "\n".join([text.description.strip(), *_details(command)]).strip(),
        "ENVIRONMENT": ENVIRONMENT.strip(),
        "FILES": text.files.strip(),
        "EXIT STATUS": (text.exits or EXITS).strip(),
        "EXAMPLES": text.examples.strip(),
        "SEE ALSO": _see_also(dashed),
    }
    body = "\n".join(f".Sh {title}\n{part}" for title, part in sections.items() if part)
    return f".Dd {DATE}\n.Dt {dashed.upper()} 1\n.Os\n{body}\n"


def _see_also(page: str) -> str:
    others = [f"{name} 1" for name in sorted(TEXTS) if name != page]
    return " ,\n".join(
        f".Xr {other}"
        for other in [*others, "medscan-results 5", "medscan-cluster 7", "medscan-scale 7"]
    )


def _commands(command: Any) -> list[tuple[str, Any]]:
    return sorted(getattr(command, "commands", {}).items())


def _shown(command: Any) -> list[Any]:
    """Options, then arguments, that a user is meant to see."""
    found = [p for p in command.params if not getattr(p, "hidden", False)]
    return sorted(found, key=lambda p: not p.opts[0].startswith("-"))


def _synopsis(words: str, command: Any) -> Iterator[str]:
    """A line for a command, or one for each command of a group below the top."""
    nested = _commands(command) if " " in words else []
    for name, child in nested:
        yield f".Nm {words} {name}"
        yield from _usage(child)
    if not nested:
        yield f".Nm {words}"
        yield from _usage(command)
    if _commands(command) and not nested:
        yield ".Ar command\n.Op Ar argument ..."


def _usage(command: Any) -> Iterator[str]:
    for param in _shown(command):
        usage = _flag(param) if _is_option(param) else f"Ar {param.name}"
        if param.nargs == -1 or getattr(param, "multiple", False):
            usage += " ..."
        yield f".{usage}" if param.required else f".Op {usage}"


def _is_option(param: Any) -> bool:
    return bool(param.opts[0].startswith("-"))


def _flag(param: Any) -> str:
    """`Fl -out Ar out`; a switch that can be turned off as `Fl -a | Fl -no-a`."""
    names = " | ".join(f"Fl {name[1:]}" for name in (*param.opts, *param.secondary_opts))
    return names if param.is_flag else f"{names} Ar {param.metavar or param.name.split('_')[-1]}"


def _details(command: Any) -> Iterator[str]:
    """What options and arguments are for; for a group also its commands."""
    if _shown(command):
        yield ".Pp\nThe options and arguments are as follows:"
        yield from _list(_shown(command))
    if _commands(command):
        yield ".Pp\nThe commands are as follows:\n.Bl -tag -width Ds"
        for name, child in _commands(command):
            yield f".It Cm {name}\n{_prose(child.help)}"
            # The commands of a group below the top have no page of their own.
            if f"medscan-{name}" not in TEXTS and _shown(child):
                yield from _list(_shown(child))
        yield ".El"


def _list(params: list[Any]) -> Iterator[str]:
    yield ".Bl -tag -width Ds"
    for param in params:
        yield f".It {_flag(param) if _is_option(param) else f'Ar {param.name}'}"
        yield _prose(param.help + _default(param))
    yield ".El"


def _default(param: Any) -> str:
    value = param.default
    if param.secondary_opts:
        return f" Default: {(param.opts if value else param.secondary_opts)[0]}."
    if value is None or isinstance(value, bool) or value == "":
        return ""
    return f" Default: {value.value if isinstance(value, Enum) else value}."


def _prose(text: str) -> str:
    """Plain text as mdoc: a sentence a line, nothing that could be read as a macro."""
    text = " ".join(text.split()).replace("\\", "\\e").replace("--", "\\-\\-")
    sentences = re.split(r"(?<=[.!?]) ", text)
    lines = [line for s in sentences for line in textwrap.wrap(s, 76, break_on_hyphens=False)]
    return "\n".join(f"\\&{line}" if line[0] in ".'" else line for line in lines)


def main(folder: Path) -> None:
    """Write every page into a folder that holds medscan-results.5."""
    import typer

    from medscan.cli.app import app

    written = pages(typer.main.get_command(app))
    written[RESULTS] = results_page((folder / RESULTS).read_text("utf-8"))
    for name, text in written.items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
