"""The defaults of a site: options of commands from one TOML file, in front of the user's words.

They become words of the command line, so that types, checks and the command that results record
are the same wherever an option comes from. medscan-config(5) describes the file.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

import typer

from medscan.errors import MedscanError, UsageError
from medscan.text import printable

NAME = "medscan.toml"
VARIABLE = "MEDSCAN_CONFIG"
SHARED = (
    "detector",
    "key-file",
    "link-template",
    "device",
    "precision",
    "runtime",
    "batch-size",
    "workers",
)
"""Options that may stand above the tables: they hold for every command that has them."""
LARGEST = 1 << 20
"""Most bytes of the file."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A default of the file.

    Parameters
    ----------
    command : str
        Its table, such as "scan" or "ledger show"; empty above the tables.
    option : str
        Name without dashes.
    value : object
        As TOML has it.
    """

    command: str
    option: str
    value: Any

    @property
    def place(self) -> str:
        """Where it stands, in words."""
        return f"[{self.command.replace(' ', '.')}] {self.option}" if self.command else self.option


def config_path() -> Path | None:
    """Return the site's file: $MEDSCAN_CONFIG, else the one in the XDG folder, if it is there.

    An empty variable means that none is read. The current folder is never searched: a scan started
    in a folder of images, or in one that others write to, must not take its options from there.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if named else None
    path = default_path()
    # Without a home the path is relative; without access to it nothing there is ours.
    return path if path.is_absolute() and os.path.exists(path) else None  # noqa: PTH110


def default_path() -> Path:
    """Return where the file is looked for when no variable names it."""
    named = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    folder = named if named.is_absolute() else Path(os.path.expanduser("~/.config"))  # noqa: PTH111
    return folder / "medscan" / NAME


def read_settings(path: Path, tree: Any) -> list[Setting]:
    """Read the file, and check the names in it; values are checked when they are used.

    Parameters
    ----------
    path : Path
    tree : Group
        All commands.

    Raises
    ------
    UsageError
        If it cannot be read, or names what no command has.
    """
    options = {name: options_of(command) for name, command in commands_of(tree)}
    settings = list(_settings(path, _parsed(path), tree, ""))
    for setting in settings:
        known = options[setting.command] if setting.command else SHARED
        if setting.option not in known:
            raise UsageError(f"{path}: {_unknown(setting, options)}")
    return settings


def options_of(command: Any) -> dict[str, Any]:
    """Return the options of a command by their names without dashes."""
    return {name[2:]: param for param in command.params for name in param.opts if name[:2] == "--"}


def kind_of(param: Any) -> Any:
    """Return the type of a value of an option or argument; of a list, that of its members."""
    kind = param.type_descriptor.annotation
    return get_args(kind)[0] if get_args(kind) else kind


def default_words(context: typer.Context, args: list[str]) -> list[str]:
    """Return the words that the site's file puts in front of those that a command was given.

    An option on the command line, or in a variable of the environment, takes the place of all that
    the file says of it.

    Raises
    ------
    UsageError
        If the file cannot be read, or something in it is wrong.
    """
    tree, path = context.find_root().command, config_path()
    if path is None or context.resilient_parsing or "--help" in args or tree is context.command:
        return []
    command = context.command_path.partition(" ")[2]
    options = options_of(context.command)
    given, _, _ = context.command.make_parser(context).parse_args(list(args))
    chosen: dict[str, Setting] = {}
    for setting in sorted(read_settings(path, tree), key=lambda setting: setting.command):
        # What stands above the tables comes first, and gives way to the table.
        if setting.option in options and (setting.command or command) == command:
            chosen[setting.option] = setting
    return [
        word
        for option, setting in chosen.items()
        if options[option].name not in given and not os.environ.get(options[option].envvar or "")
        for word in words_of(path, setting, options[option], context)
    ]


def words_of(path: Path, setting: Setting, param: Any, context: typer.Context) -> list[str]:
    """Return a setting as words of the command line, checked as these are.

    Raises
    ------
    UsageError
        If it is of another type than the option, or the option refuses it.
    """
    value, many = setting.value, param.multiple
    try:
        if param.is_flag:
            return _flag(param, value)
        if isinstance(value, list) and not many:
            raise UsageError("must be one value, not a list")
        texts = [_text(param, one) for one in (value if isinstance(value, list) else [value])]
        param.process_value(context, texts if many else texts[0])
    except (MedscanError, typer.BadParameter) as error:
        message = str(getattr(error, "message", error)).removeprefix("Value error, ")
        raise UsageError(f"{path}: {setting.place}: {' '.join(message.split())}") from error
    return [f"{param.opts[0]}={text}" for text in texts]


def _flag(param: Any, value: Any) -> list[str]:
    if not isinstance(value, bool):
        raise UsageError("must be true or false, without quotes")
    return list((param.opts if value else param.secondary_opts)[:1])


def _text(param: Any, value: Any) -> str:
    """Return a value as the command line would have it."""
    kind = kind_of(param)
    kinds: tuple[type, ...]
    if param.type_descriptor.parameter_info.parser is not None:
        kinds, words = (str, int, float), "a number, or a text in quotes"
    elif kind in (int, float):
        kinds = (int,) if kind is int else (int, float)
        words = "a whole number, without quotes" if kind is int else "a number, without quotes"
    else:
        kinds, words = (str,), "a text in quotes"
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise UsageError(f"must be {words}")
    if "\0" in str(value):
        raise UsageError("must not have a NUL character in it")
    return _whole_path(param, str(value)) if kind is Path else str(value)


def _whole_path(param: Any, text: str) -> str:
    """Return a path that is the same from every folder; a detector may also be a mere name."""
    path = Path(os.path.expanduser(text))  # noqa: PTH111 - it leaves an unknown user as it is
    if not path.is_absolute() and (param.name != "detector" or "/" in text):
        raise UsageError(f"{printable(text, 80)}: write the whole path, from / or ~/")
    return str(path)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file; {VARIABLE} may name another")
        with path.open("rb") as stream:
            data = stream.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise UsageError(f"{path} is too large for a file of settings")
        return tomllib.loads(data.decode())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # includes those of tomllib and of UTF-8
        raise UsageError(f"{path} is not TOML: {printable(str(error), 200)}") from error


def _settings(path: Path, table: Mapping[str, Any], group: Any, above: str) -> Iterator[Setting]:
    """Yield the settings of a group of commands, whose tables stand in its own."""
    for name, value in table.items():
        command, place = group.commands.get(name), f"{above} {name}".strip()
        if command is None and not above and not isinstance(value, dict):
            yield Setting("", name, value)
        elif command is None or not isinstance(value, dict):
            shown = f"[{printable(place.replace(' ', '.'), 80)}]"
            wrong = (
                f"no such command{_near(name, group.commands)}" if command is None else "a table"
            )
            raise UsageError(f"{path}: {shown}: {wrong}")
        elif hasattr(command, "commands"):
            yield from _settings(path, value, command, place)
        else:
            yield from (Setting(place, option, one) for option, one in value.items())


def commands_of(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the name of each command, such as "ledger show", and the command."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def _unknown(setting: Setting, options: Mapping[str, Any]) -> str:
    """Say that an option is unknown, and which one may be meant."""
    place = printable(setting.place, 80)
    if setting.command:
        near = _near(setting.option, options[setting.command])
        return f"{place}: medscan {setting.command} has no such option{near}"
    owners = sorted((c for c in options if setting.option in options[c]), key="scan".__ne__)
    if owners:
        return f"{place}: belongs into the table of a command, such as [{owners[0]}]"
    return f"{place}: no such option{_near(setting.option, SHARED)}"


def _near(word: str, known: Any) -> str:
    near = get_close_matches(word.replace("_", "-").lstrip("-"), list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""
