"""What results.h5 records of a detector: its schema, as readers rely on it.

An earlier medscan may have published the record of a detector that nobody checked. A record that
does not fit is left out, as if the file did not describe the detector: the rest can be read.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from medscan.errors import UsageError
from medscan.normals import Accepted, Stacks, Threshold
from medscan.schema import OPEN, checked
from medscan.text import printable


@dataclass(frozen=True, slots=True)
class Record:
    """An entry of `RunInfo.detectors`; files of older versions lack some fields."""

    __pydantic_config__ = OPEN

    name: str
    hash: str
    method: str = ""
    protocol: str = ""
    backbone: str = ""
    backbone_hash: str = ""
    domain: str = ""
    window: str = "auto"
    normals: tuple[float, ...] = ()
    normal_stacks: Stacks = ()
    threshold: Threshold = math.nan
    target_fpr: float = 0.0
    provisional: bool = False
    map_low: float = 0.0
    map_high: float = 0.0
    licence: str = ""
    backbone_licence: str = ""
    accepted: Accepted | None = None
    gate: bool = False


def read_records(text: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the records that fit, as they were written, and what is wrong with the others.

    Raises
    ------
    ValueError
        If the text is not a JSON list.
    """
    listed = json.loads(text)
    if not isinstance(listed, list):
        raise ValueError("its detectors are not a list")  # noqa: TRY004 - a value of a file
    fitting, damage = [], []
    for facts in listed:
        name = facts.get("name", "") if isinstance(facts, dict) else ""
        subject = f"the record of detector {printable(str(name), 80)}"
        try:
            checked(Record, facts, subject, UsageError)
        except UsageError as error:
            damage.append(str(error))
        else:
            fitting.append(facts)
    return fitting, damage
