"""JSON from a file checked against the dataclass it should fill: types, finite numbers, fields.

The annotations of the dataclass are the schema: types and ranges are stated there and nowhere
else. A class names its rules in `__pydantic_config__`: `CLOSED` refuses fields that it does not
have, `OPEN` ignores them.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

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


Count = Annotated[int, Field(ge=0)]
"""A number of things."""
Scalar = Annotated[Any, AfterValidator(_scalar)]
"""A value without parts."""


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
        return TypeAdapter(kind).validate_json(json.dumps(facts))
    except ValidationError as failure:
        raise error(f"{subject} {_first(failure)}") from failure
    except RecursionError as failure:
        raise error(f"{subject} is damaged: its content is nested too deeply") from failure


def _first(failure: ValidationError) -> str:
    """Name the first wrong field and say what is wrong with it."""
    wrong = failure.errors(include_url=False, include_context=False, include_input=False)[0]
    field = printable(".".join(map(str, wrong["loc"])), _LONGEST) or "its content"
    if wrong["type"] == "missing":
        return f"lacks {field}"
    return f"is damaged: {field}: {wrong['msg']}"
