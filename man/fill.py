r"""Fill the generated blocks of the manual pages: `python man/fill.py`.

Everything else in a page is written by hand. A block stands between two comments; the first may
say what to list in it:

    .\" exits 0 1 2: generated
    .\" end of exits
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

import medscan
from medscan.archive import FACTS, REASONS
from medscan.cli import app
from medscan.cli.help import choices_of, default_of
from medscan.cli.options import ENVIRONMENT
from medscan.errors import EXIT_STATUSES
from medscan.report import TABLES
from medscan.routing import KINDS, MODALITY_WORDS, REGIONS, VIEWS, Kind, Range, Without

MAN = Path(__file__).parent
BLOCK = re.compile(r'(\.\\" (\w+)((?: \S+)*): generated\n).*?(\.\\" end of \2\n)', re.DOTALL)


def fill(page: str, context: typer.Context) -> str:
    """Return a page with its blocks filled in for the command of the context."""

    def block(match: re.Match[str]) -> str:
        opening, kind, words, end = match.groups()
        lines = BLOCKS[kind](context, *words.split())
        return "".join([opening, *(f"{line}\n" for line in lines), end])

    return BLOCK.sub(block, page)


def context_of(page: str, tree: Any) -> typer.Context:
    """Return the context of the command that a page, such as `medscan-scan.1`, is about."""
    top = typer.Context(tree, info_name=tree.name)
    name = page.rpartition(".")[0].removeprefix(f"{tree.name}-")
    command = tree.commands.get(name)
    return typer.Context(command, info_name=name, parent=top) if command else top


def prose(text: str) -> str:
    """Return plain text as mdoc: a sentence per line, nothing that could be read as a macro."""
    text = " ".join(text.replace("`", "").split()).replace("\\", "\\e").replace("--", "\\-\\-")
    sentences = re.split(r"(?<=[.!?]) (?![a-z])", text)
    lines = [line for s in sentences for line in textwrap.wrap(s, 76, break_on_hyphens=False)]
    return "\n".join(f"\\&{line}" if line[0] in ".'" else line for line in lines)


def tagged(rows: Iterable[tuple[str, str]], compact: str = "") -> Iterator[str]:
    """Yield a list of terms, which are mdoc, and of what they mean, which is plain text."""
    yield f".Bl -tag -width Ds{compact}"
    for term, meaning in rows:
        yield f".It {term}\n{prose(meaning)}"
    yield ".El"


def synopsis(context: typer.Context) -> Iterator[str]:
    """Yield the usage of a command, or of each command of a group below the top."""
    commands = getattr(context.command, "commands", {})
    if commands and context.parent:
        for name in sorted(commands):
            yield from synopsis(typer.Context(commands[name], info_name=name, parent=context))
        return
    yield f".Nm {context.command_path}"
    for param in _shown(context):
        more = " ..." if param.nargs == -1 or getattr(param, "multiple", False) else ""
        yield f".{'' if param.required else 'Op '}{_term(param)}{more}"
    if commands:
        yield ".Ar command\n.Op Ar argument ..."


def options(context: typer.Context) -> Iterator[str]:
    """Yield a list of the options and arguments of a command."""
    return tagged((_term(param), _meaning(param, context)) for param in _shown(context))


def commands(context: typer.Context) -> Iterator[str]:
    """Yield a list of commands; those below the top have no page, so their options follow."""
    yield ".Bl -tag -width Ds"
    for name, command in sorted(getattr(context.command, "commands", {}).items()):
        yield f".It Cm {name}\n{prose(command.help)}"
        below = typer.Context(command, info_name=name, parent=context)
        if context.parent and _shown(below):
            yield from options(below)
    yield ".El"


def exits(_: typer.Context, *statuses: str) -> Iterator[str]:
    """Yield a list of exit statuses."""
    return tagged(((code, EXIT_STATUSES[int(code)]) for code in statuses), " -compact")


def environment(_: typer.Context, *names: str) -> Iterator[str]:
    """Yield a list of environment variables."""
    return tagged((f"Ev {name}", ENVIRONMENT[name]) for name in names)


def reasons(_: typer.Context) -> Iterator[str]:
    """Yield a list of the reasons why files were scanned, skipped or failed."""
    rows = ((f"Cm {r} Pq {b}", f"{w[0].upper()}{w[1:]}.") for r, (b, w) in REASONS.items())
    return tagged(rows)


def columns(_: typer.Context, table: str) -> Iterator[str]:
    """Yield a list of the columns of a table."""
    return tagged((f"Va {name}", words) for name, words in TABLES[table].columns.items())


def facts(_: typer.Context) -> Iterator[str]:
    """Yield a list of the elements that detectors are chosen by."""
    names = [fact.keyword for fact in FACTS]
    yield "\n".join(textwrap.wrap(f"{', '.join(names[:-1])} and {names[-1]}.", 76))


def members(_: typer.Context, name: str) -> Iterator[str]:
    """Yield a list of what a class of the Python interface offers."""
    found = vars(getattr(medscan, name)).items()
    shown = ((n, m) for n, m in found if not (n.startswith("_") or isinstance(m, classmethod)))
    return tagged((_member(n, m), _told(m)) for n, m in shown)


def _member(name: str, member: Any) -> str:
    """Return `Va score`, or `Fn map index shape=None`."""
    if isinstance(member, property):
        return f"Va {name}"
    _, *parameters = inspect.signature(member).parameters.values()
    words = (p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters)
    return " ".join(["Fn", name, *(f'"{word}"' for word in words)])


def _told(member: Any) -> str:
    """Return what a docstring says before its first heading."""
    return re.split(r"\n\n\w+\n-+\n", inspect.getdoc(member) or "")[0]


def modalities(_: typer.Context) -> Iterator[str]:
    """Yield a list of the words for each modality."""
    return _words((name, words) for name, words in MODALITY_WORDS.items())


def views(_: typer.Context) -> Iterator[str]:
    """Yield a list of the words for each plane of radiographs."""
    return _words((name, words) for name, words in VIEWS.items())


def regions(_: typer.Context) -> Iterator[str]:
    """Yield a list of the parts of the body, with terms, words and larger parts."""
    rows = []
    for region in REGIONS:
        parts = {
            "Terms": (region.name, *region.terms),
            "Words": region.words,
            "Within": region.within,
            "Image types of ultrasound": region.ultrasound,
        }
        rows.append((region.name, _sentences(parts)))
    return tagged(((f"Cm {name}", text) for name, text in rows), " -compact")


def kinds(_: typer.Context, modality: str) -> Iterator[str]:
    """Yield a list of the kinds of image of a modality."""
    common = KINDS[""]
    found = common if modality == "ANY" else [k for k in KINDS[modality] if k not in common]
    return tagged(((f"Cm {kind.name}", _kind(kind)) for kind in found), " -compact")


def _kind(kind: Kind) -> str:
    manner = "Of no use." if kind.useless else "Apart." if kind.apart else ""
    parts = {
        "Words": kind.words,
        "Or": [_conditions(rule) for rule in kind.says],
        "Needs": [_conditions({keyword: values}) for keyword, values in kind.needs.items()],
        "Is always": kind.implies,
        "May be": kind.bears,
    }
    return f"{manner} {_sentences(parts)}"


def _conditions(rule: Any) -> str:
    return " with ".join(f"{keyword} {_values(values)}" for keyword, values in rule.items())


def _values(values: Any) -> str:
    if isinstance(values, (Range, Without)):
        return str(values)
    return "of any value" if values == ("...",) else " or ".join(values)


def _sentences(parts: dict[str, Any]) -> str:
    lists = (f"{name}: {'; '.join(words)}." for name, words in parts.items() if words)
    return " ".join(lists).replace("....", "...")


def _words(rows: Iterable[tuple[str, Iterable[str]]]) -> Iterator[str]:
    return tagged(((f"Cm {name}", "; ".join(words)) for name, words in rows), " -compact")


BLOCKS: dict[str, Callable[..., Iterator[str]]] = {
    block.__name__: block
    for block in (
        *(synopsis, options, commands, exits, environment, reasons, columns),
        *(facts, modalities, views, regions, kinds, members),
    )
}


def _shown(context: typer.Context) -> list[Any]:
    """Return the options, then the arguments, that are not hidden."""
    params = [p for p in context.command.params if not getattr(p, "hidden", False)]
    return sorted(params, key=lambda p: p.param_type_name == "argument")


def _term(param: Any) -> str:
    """Return `Fl -out Ar out`; a switch that can be turned off as `Fl -a | Fl -no-a`."""
    if param.param_type_name == "argument":
        return f"Ar {param.name}"
    names = " | ".join(f"Fl {name[1:]}" for name in (*param.opts, *param.secondary_opts))
    return names if param.is_flag else f"{names} Ar {param.metavar or param.name.split('_')[-1]}"


def _meaning(param: Any, context: typer.Context) -> str:
    choices, default = ", ".join(choices_of(param, context)), default_of(param)
    return (
        param.help + f" One of {choices}." * bool(choices) + f" Default: {default}." * bool(default)
    )


if __name__ == "__main__":
    for path in MAN.glob("medscan*.[1-7]"):
        filled = fill(path.read_text("utf-8"), context_of(path.name, typer.main.get_command(app)))
        path.write_text(filled, "utf-8")
