"""JSON from a file checked against the dataclass it should fill: types, finite numbers, fields.

The annotations of the dataclass are the schema: types and ranges are stated there and nowhere
else. A class names its rules in `__pydantic_config__`: `CLOSED` refuses fields that it does not
have, `OPEN` ignores them. What is written as JSON passes `finite_or_none` first.
"""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from medscan.errors import UsageError
from medscan.text import printable

CLOSED = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")
OPEN = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")

T = TypeVar("T")
_LONGEST = 80
"""Characters of a field's name that a message shows."""


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and abs(value) < float("inf"):
        return value
    raise PydanticCustomError(
        "scalar", "Input should be a finite number, a text, a boolean or null"
    )


def _line(text: str) -> str:
    if text.isprintable():
        return text
    raise PydanticCustomError("line", "Input should be a line of printable characters")


Count = Annotated[int, Field(ge=0, lt=1 << 63)]
"""A number of things."""
Line = Annotated[str, Field(max_length=300), AfterValidator(_line)]
"""A name or a word: text that can be shown as it is."""
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""A SHA-256 in hexadecimal."""
Fraction = Annotated[float, Field(gt=0, lt=1)]
"""A share of a whole, neither none nor all of it."""
Scalar = Annotated[Any, AfterValidator(_scalar)]
"""A value without parts."""


def one_of(*choices: str) -> AfterValidator:
    """Return what a text is checked by that must be one of a few."""

    def check(text: str) -> str:
        if text in choices:
            return text
        listed = ", ".join(choice for choice in choices if choice)
        raise PydanticCustomError("choice", "Input should be one of {listed}", {"listed": listed})

    return AfterValidator(check)


def checked(kind: type[T], facts: Any, subject: str, error: type[UsageError]) -> T:
    """Return an instance of a dataclass, filled with the facts of a file.

    Parameters
    ----------
    kind : type
        A dataclass whose `__pydantic_config__` is `CLOSED` or `OPEN`.
    facts : dict, list, str, float, int, bool or None
        As `json.loads` returned it.
    subject : str
        First words of the message, such as "detector a.safetensors".
    error : type
        Raised when the facts do not fit. Its message is one line that names the first wrong field.
    """
    try:
        # Back to JSON, because strict validation takes an array for a tuple only from there.
        adapter: TypeAdapter[T] = _adapter(cast("Any", kind))  # mypy holds no class for hashable
        return adapter.validate_json(json.dumps(facts))
    except ValidationError as failure:
        raise error(f"{subject} {_first(failure)}") from failure
    except RecursionError as failure:
        raise error(f"{subject} is damaged: its content is nested too deeply") from failure


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what checks a class: to build it takes longer than to check with it."""
    return TypeAdapter(kind)


def _first(failure: ValidationError) -> str:
    """Name the first wrong field and say what is wrong with it."""
    wrong = failure.errors(include_url=False, include_context=False, include_input=False)[0]
    field = printable(".".join(map(str, wrong["loc"])), _LONGEST) or "its content"
    if wrong["type"] == "missing":
        return f"lacks {field}"
    return f"is damaged: {field}: {wrong['msg']}"


def finite_or_none(value: Any) -> Any:
    """Return nested values with None for NaN and infinities, which JSON lacks."""
    if isinstance(value, dict):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
