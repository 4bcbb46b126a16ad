"""UIDs of objects, derived from what they are made of."""

from __future__ import annotations

import uuid

_ROOT = uuid.uuid5(uuid.NAMESPACE_DNS, "medscan")


def derived_uid(*parts: str) -> str:
    """Derive a UID from texts: UUID 5 below 2.25 (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(_ROOT, chr(0).join(parts)).int}"
