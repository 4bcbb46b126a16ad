"""`--help` as plain text: options under headings, whole summaries, examples at the end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from medscan.cli.command import WORDS
from medscan.cli.config import default_words, kind_of
from medscan.cli.examples import examples_of
from medscan.errors import UsageError
from medscan.text import printable

TYPES = {
    "int": "N",
    "int range": "N",
    "float": "NUMBER",
    "path": "PATH",
    "list[Path]": "PATH",
    "str": "TEXT",
    "list[str]": "TEXT",
}
"""What stands for a value, by Typer's name of its type."""


def default_of(param: Any) -> str:
    """Return the default of an option in words; empty when it has none to speak of."""
    value = param.default
    if isinstance(param.show_default, str):
        return param.show_default
    if param.secondary_opts and value is not None:
        return str((param.opts if value else param.secondary_opts)[0])
    if value is None or isinstance(value, bool):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def choices_of(param: Any, context: typer.Context) -> list[str]:
    """Return the values that an option may have; empty when they cannot be listed."""
    listed = re.search(r"[<\[](\w[^<>\[\]]*\|[^<>\[\]]*)[>\]]", _usage(param, context))
    return listed[1].split("|") if listed else []


def _usage(param: Any, context: typer.Context) -> str:
    """`--order <path|newest|oldest>`, as Typer writes it."""
    return str(param.get_help_record(context)[0])


def _row(param: Any, context: typer.Context) -> tuple[str, str]:
    """Left and right column of an option or argument."""
    left = re.sub(r"<(.*)>", lambda match: TYPES.get(match[1], match[1]), _usage(param, context))
    if param.param_type_name == "argument":
        left = str(param.name) + " ..." * (param.nargs == -1)
    default = default_of(param)
    note = "required" * param.required or f"default: {default}" * bool(default)
    return left, f"{param.help}  [{note}]" if note else str(param.help)


def _heading(param: Any) -> str:
    if param.param_type_name == "argument":
        return "Arguments"
    return getattr(param, "rich_help_panel", None) or "Options"


class _Plain:
    """Formats the help of a command or group."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each heading, in the order of the command's options."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        for param in ctx.command.get_params(ctx):
            if param.get_help_record(ctx) is not None:  # None for a hidden one
                sections.setdefault(_heading(param), []).append(_row(param, ctx))
        for heading, rows in sections.items():
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write two examples, never wrapped: they are to be copied."""
        with formatter.section("Examples"):
            for line in examples_of(ctx.command_path):
                formatter.write(f"  {line}\n")


_Refusal: Any = typer.BadParameter.__bases__[0]
"""What Typer raises on words that it does not understand."""
_LONG_WORD = re.compile(r"\S{81,}")


@contextmanager
def _short_refusals() -> Iterator[None]:
    """Shorten what was given where Typer repeats it in an error."""
    try:
        yield
    except _Refusal as error:
        message = _LONG_WORD.sub(lambda word: printable(word[0], 80), error.message)
        error.message = printable(message, 400)
        raise


class Command(_Plain, TyperCommand):
    """A command, which remembers the words that it was given; see `recorded_command`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after the name of the command, behind those of the site's file."""
        args = [*default_words(ctx, args), *args]
        ctx.meta[WORDS] = list(args)
        rest = super().parse_args(ctx, list(args))
        if not ctx.resilient_parsing:  # as while a line is completed
            self._refuse_empty_paths(ctx, args)
        return rest

    def _refuse_empty_paths(self, ctx: Any, args: list[str]) -> None:
        """Refuse what would mean the current folder, such as a variable that is not set."""
        given, _, _ = self.make_parser(ctx).parse_args(args)
        for param in self.params:
            value = given.get(param.name)
            words = value if isinstance(value, (list, tuple)) else [value]
            if kind_of(param) is Path and "" in words:
                raise UsageError(f"{param.opts[0]} is empty: name a path")


class Group(_Plain, TyperGroup):
    """A group of commands, listed with their whole summaries."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words before the name of the command."""
        with _short_refusals():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Find the command, parse its words and run it."""
        with _short_refusals():
            return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write options, then commands."""
        super().format_options(ctx, formatter)
        with formatter.section("Commands"):
            formatter.write_dl([(name, str(c.help)) for name, c in self.commands.items()])
