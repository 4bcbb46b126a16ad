"""Requests that are made again when a PACS does not answer: it may be starting."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from medscan.errors import UnavailableError

WAITS_S = (1.0, 3.0, 9.0)
"""Seconds before each further try."""
GIVE_UP_AFTER = 3
"""Studies in a row that a PACS does not answer for before it counts as gone."""

T = TypeVar("T")


def patiently(ask: Callable[[], T]) -> T:
    """Make a request, and again if it is not answered, a few times and ever later.

    Raises
    ------
    UnavailableError
        If none is answered.
    """
    for wait_s in WAITS_S:
        try:
            return ask()
        except UnavailableError:
            time.sleep(wait_s)
    return ask()
