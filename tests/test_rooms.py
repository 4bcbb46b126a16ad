"""The map of the house in the package's docstring is true, and its rooms keep their borders."""

import ast
import functools
import re
from collections import defaultdict
from pathlib import Path

import pytest

import medscan

PACKAGE = Path(medscan.__file__).parent
ROOMS = re.findall(r"^    (\w+)(?:/|\.py) {2,}\S", medscan.__doc__, re.MULTILINE)
LARGE = {"archive", "cli", "report"}
"""Rooms that may have more than 2,000 lines: many formats, many commands, many pages."""


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def sources():
    return [p for p in sorted(PACKAGE.rglob("*.py")) if room_of(p) not in ("__init__", "__main__")]


@functools.cache
def imported(path):
    """(module, names) of every import of medscan's own, wherever in the file it stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "medscan":
            found.append((node.module, [alias.name for alias in node.names]))
        elif isinstance(node, ast.Import):
            found += [(a.name, []) for a in node.names if a.name.split(".")[0] == "medscan"]
    return found


def used_rooms(path):
    for module, names in imported(path):
        yield from [module.split(".")[1]] if "." in module else names


def test_the_map_names_every_room_once():
    assert sorted(ROOMS) == sorted({room_of(path) for path in sources()})


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_uses_only_rooms_above_it_and_only_what_they_offer(path):
    me = room_of(path)
    for room in used_rooms(path):
        assert room == "__version__" or ROOMS.index(room) <= ROOMS.index(me), f"uses {room}"
    past = [m for m, _ in imported(path) if m.count(".") > 1 and m.split(".")[1] != me]
    assert past == [], "imports past another room's __init__"


def test_the_modules_of_a_room_are_no_circle():
    """Imports inside functions and for type checkers do not count: they are not made on import."""
    uses = defaultdict(set)
    for path in sources():
        name = ".".join(("medscan", *path.relative_to(PACKAGE).with_suffix("").parts))
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("medscan."):
                uses[name.removesuffix(".__init__")] |= set(_modules(node))
    done, open_ = set(), []

    def visit(name):
        assert name not in open_, " -> ".join([*open_[open_.index(name) :], name])
        if name not in done:
            open_.append(name)
            for other in sorted(uses[name]):
                visit(other)
            done.add(open_.pop())

    for name in sorted(uses):
        visit(name)


def _modules(node):
    """`from medscan.room import name`: the module of that name, or else the room itself."""
    folder = PACKAGE.joinpath(*node.module.split(".")[1:])
    for alias in node.names:
        is_module = (folder / f"{alias.name}.py").exists()
        yield f"{node.module}.{alias.name}" if is_module else node.module


def test_no_room_is_too_large():
    lines = defaultdict(int)
    for path in sources():
        lines[room_of(path)] += len(path.read_text().splitlines())
    assert {room for room, count in lines.items() if count > 2000} <= LARGE


def test_only_the_cluster_imports_ray():
    users = {
        room_of(p) for p in sources() if re.search(r"^\s*(import|from) ray\b", p.read_text(), re.M)
    }
    assert users == {"cluster"}
