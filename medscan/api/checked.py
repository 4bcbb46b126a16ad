"""Functions that refuse arguments of another type than their annotations say."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache, wraps
from inspect import signature
from numbers import Integral, Real
from types import UnionType
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from medscan.errors import UsageError
from medscan.text import printable

P = ParamSpec("P")
T = TypeVar("T")

Seconds = float
Millimetres = float
Gib = float


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Have a function raise UsageError if an argument is not of its annotated type.

    Numbers may be those of NumPy and must be finite; a truth value is no number. Of an iterator,
    which can be read only once, the members are not looked at.
    """
    hints = cache(lambda: get_type_hints(function))
    given = signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        for name, value in given.bind(*args, **kwargs).arguments.items():
            if name in hints() and not _fits(value, hints()[name]):
                kind, shown = given.parameters[name].annotation, printable(repr(value), 80)
                raise UsageError(f"{name}={shown} is not of type {kind}")
        return function(*args, **kwargs)

    return call


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type; True for protocols, such as those of arrays."""
    kind, args = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, one) for one in args)
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if kind is tuple:
        alike = isinstance(value, Collection) and len(value) == len(args)
        return alike and all(map(_fits, value, args))
    if not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return True
    if issubclass(kind, Mapping):
        return isinstance(value, Mapping) and all(
            _fits(name, args[0]) and _fits(one, args[1]) for name, one in value.items()
        )
    if issubclass(kind, Iterable) and args:
        members = value if isinstance(value, Collection) else ()
        fit = all(_fits(member, args[0]) for member in members)
        return fit and isinstance(value, Iterable) and not isinstance(value, str)
    return isinstance(value, kind)
