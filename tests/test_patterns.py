"""No regular expression of the package can take more than linear time on a hostile text.

What is looked for are unbounded repetitions that can divide one text in several ways: one within
another, two that meet and share characters, and, where a match is searched for, one that also
matches what a match begins with, so that every start reads the rest of the text again.
"""

import ast
import importlib
import re
from pathlib import Path
from re import _compiler, _constants, _parser

import pytest

import medscan
from medscan.backbones.families import FAMILIES, TEXT, VISUAL
from medscan.inherited import identity
from medscan.routing import PATTERN

PACKAGE = Path(medscan.__file__).parent
OWN_WORDS = {"cli"}
"""Rooms whose patterns see only the words of a command line or of medscan itself."""
NAMES = [*(family.names for family in FAMILIES.values()), TEXT, VISUAL]
ELSEWHERE = {
    "pattern": [pattern for names in NAMES for pattern in names],
    "self.pattern": [PATTERN],
    "either(words)": [PATTERN],
    "_STRICTER.get(keyword, _TEXT)": [*identity._STRICTER.values(), identity._TEXT],
}
"""Patterns that are chosen where they are used."""
SEARCHING = {"search", "findall", "finditer", "sub", "subn", "split"}
MANY = 300
"""Repetitions from which on they count as unbounded: a file's name has at most 255 bytes."""
REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)
GROUPS = (_constants.SUBPATTERN, _constants.ATOMIC_GROUP, _constants.POSSESSIVE_REPEAT, *REPEATS)
ALPHABET = [chr(n) for n in range(0x180)]


def patterns():
    """(place, pattern, whether it is searched for) of every call of `re` in the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in OWN_WORDS:
            continue
        name = ".".join(("medscan", *path.relative_to(PACKAGE).with_suffix("").parts))
        source = path.read_text()
        for node in ast.walk(ast.parse(source)):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if is_call and ast.unparse(node.func.value) == "re" and node.func.attr != "escape":
                for pattern in _evaluated(name, node):
                    yield f"{name}:{node.lineno}", pattern, _is_searched(source, node)


def _is_searched(source, call):
    """Whether a match may begin anywhere; of a compiled pattern, its uses say so."""
    if call.func.attr != "compile":
        return call.func.attr in SEARCHING
    named = re.search(rf"^(\w+) = {re.escape(ast.get_source_segment(source, call))}", source, re.M)
    uses = re.findall(rf"\b{named[1]}\.(\w+)\(", source) if named else []
    return not uses or not SEARCHING.isdisjoint(uses)


def _evaluated(name, call):
    """The patterns that a call of `re` may be given."""
    text = ast.unparse(call.args[0])
    flags = [ast.unparse(a) for a in (*call.args[1:], *(k.value for k in call.keywords))]
    flags = " | ".join(flag for flag in flags if flag.startswith("re."))
    space = {} if name.endswith("__init__") else vars(importlib.import_module(name))
    found = ELSEWHERE[text] if text in ELSEWHERE else [eval(text, space)]  # noqa: S307 - the package's own words
    flags = eval(flags or "0", {"re": re})  # noqa: S307 - the package's own words
    return [re.compile(pattern, flags) for pattern in found]


def problems(pattern, *, searched):
    """What can make a pattern slow, in words."""
    tree = _parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
    kind, value = tree[0]
    for alternative in value[1] if kind is _constants.BRANCH and len(tree) == 1 else [tree]:
        yield from _problems(alternative, _Kinds(pattern), searched=searched)


def _problems(tree, kinds, *, searched):
    for body, rest in _runs(tree):
        if any(True for _ in _runs(body)):
            yield "a repetition within a repetition"
        if body[0][0] is _constants.ATOMIC_GROUP:
            continue  # it matches in one way, and what follows is tried once after each
        own = kinds.of(body)
        for other in _next_runs(rest, own, kinds):
            if own & kinds.of(other):
                yield "two repetitions that share characters"
        if searched and rest and own & kinds.first(tree) and not _is_anchored(tree):
            yield "a repetition that also matches the beginning of a match"


def _runs(tree, rest=()):
    """Body of each unbounded repetition that may give back characters, and what follows it."""
    items = list(tree)
    for number, (kind, value) in enumerate(items):
        after = (*items[number + 1 :], *rest)
        if kind in REPEATS:
            _, most, body = value
            if most >= MANY:
                yield body, after
            else:
                yield from _runs(body, after)
        elif kind is _constants.SUBPATTERN:
            yield from _runs(value[-1], after)
        elif kind is _constants.BRANCH:
            for branch in value[1]:
                yield from _runs(branch, after)


def _next_runs(rest, own, kinds):
    """Bodies of unbounded repetitions that follow with nothing between that `own` cannot match."""
    for kind, value in rest:
        if kind in REPEATS and value[1] >= MANY:
            yield value[2]
        elif kind in (*REPEATS, _constants.SUBPATTERN):
            yield from _next_runs(value[-1], own, kinds)
        elif kind is _constants.BRANCH:
            for branch in value[1]:
                yield from _next_runs(branch, own, kinds)
        optional = kind in REPEATS and value[0] == 0
        zero_width = kind in (_constants.AT, _constants.ASSERT, _constants.ASSERT_NOT)
        if not (optional or zero_width or own & kinds.of([(kind, value)])):
            return


def _is_anchored(tree):
    items = list(tree)
    return bool(items) and items[0][0] is _constants.AT


class _Kinds:
    """Characters that parts of a pattern match."""

    def __init__(self, pattern):
        self.pattern = pattern
        self.bytes = isinstance(pattern.pattern, bytes)

    def of(self, tree):
        """All characters in any match."""
        found = set()
        for kind, value in tree:
            if kind is _constants.BRANCH:
                found |= set().union(*map(self.of, value[1]))
            elif kind in GROUPS:
                found |= self.of(value if kind is _constants.ATOMIC_GROUP else value[-1])
            elif kind not in (_constants.AT, _constants.ASSERT, _constants.ASSERT_NOT):
                found |= self._single(kind, value)
        return found

    def first(self, tree):
        """Characters that a match may begin with."""
        found = set()
        for kind, value in tree:
            if kind in (_constants.AT, _constants.ASSERT, _constants.ASSERT_NOT):
                continue
            if kind is _constants.BRANCH:
                found |= set().union(*map(self.first, value[1]))
            elif kind in GROUPS:
                found |= self.first(value if kind is _constants.ATOMIC_GROUP else value[-1])
            else:
                found |= self._single(kind, value)
            if not (kind in REPEATS and value[0] == 0):
                break
        return found

    def _single(self, kind, value):
        state = _parser.State()
        state.str, state.flags = self.pattern.pattern, self.pattern.flags
        one = _compiler.compile(_parser.SubPattern(state, [(kind, value)]), self.pattern.flags)
        if not self.bytes:
            return {c for c in ALPHABET if one.fullmatch(c)}
        return {c for c in ALPHABET[:256] if one.fullmatch(c.encode("latin-1"))}


def test_every_pattern_takes_linear_time():
    every = list(patterns())
    slow = [
        (place, pattern.pattern, problem)
        for place, pattern, searched in every
        for problem in problems(pattern, searched=searched)
    ]
    assert slow == []
    assert len(every) > 100


@pytest.mark.parametrize(
    ("pattern", "searched"),
    [
        (r"(a+)+b", False),
        (r"(?:\w+ *=.*\n)*x", False),
        (r"(?:a|b*)*c", False),
        (r"\s*\w*\s*\w*=", False),
        (r"\d+\d*x", False),
        (r"\d+1?\d+x", False),
        (r"(\d+)(?:\.?)(\d+)x", False),
        (r".*=.*x", False),
        (r"\(.*?\)", True),
        (r"\([^)]*\)", True),
        (r" *x", True),
    ],
)
def test_slow_patterns_are_found(pattern, searched):
    assert list(problems(re.compile(pattern), searched=searched))


@pytest.mark.parametrize(
    ("pattern", "searched"),
    [
        (r"(?>a+)+b", False),
        (r"\w+ *= *\d+", False),
        (r"[+-]?(\d+(?:\.\d*)?|\.\d+)([eE][+-]?\d+)?", False),
        (r"\([^()]*\)", True),
        (r"#\d+$", True),
        (r"\d+", True),
        (r"[a-z]{0,64}[a-z]{0,64}x", False),
    ],
)
def test_quick_patterns_are_not(pattern, searched):
    assert list(problems(re.compile(pattern), searched=searched)) == []
