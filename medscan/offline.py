"""No socket is opened, except by `weights pull`, to a PACS, and between the nodes of a cluster.

Libraries would open some: those of the hub, to look up what a name means there; and urllib3, which
`requests` brings, to learn whether this machine has IPv6, as soon as it is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE",
           "HF_HUB_DISABLE_TELEMETRY")  # fmt: skip
"""Variables by which the hub's libraries are told to stay away from the network."""


def stay_offline() -> None:
    """Keep the hub's libraries off the network, in this process and those that it starts."""
    os.environ.update(dict.fromkeys(OFFLINE, "1"))


@contextmanager
def without(library: str) -> Iterator[None]:
    """Let imports go on as if an optional library were not installed, unless it is imported."""
    if library in sys.modules:
        yield
        return
    sys.modules[library] = None  # type: ignore[assignment]  # what `import` takes as missing
    try:
        yield
    finally:
        del sys.modules[library]
