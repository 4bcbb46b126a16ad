"""The libraries that talk to a PACS, which are installed by `pip install 'medscan[pacs]'` alone."""

from __future__ import annotations

from importlib.util import find_spec

from medscan.errors import UsageError


def need(*names: str) -> None:
    """Say what to install where a library is missing.

    Raises
    ------
    UsageError
        If one is.
    """
    missing = [name.replace("_", "-") for name in names if find_spec(name) is None]
    if missing:
        raise UsageError(f"a PACS needs {', '.join(missing)}: pip install 'medscan[pacs]'")
