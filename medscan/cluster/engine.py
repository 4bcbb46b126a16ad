"""The engine that scans on a Ray cluster."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec

from medscan.errors import UsageError
from medscan.planning import Task
from medscan.scanning import Assignment, LocalEngine
from medscan.text import printable


class RayEngine:
    """Scans studies on a Ray cluster.

    Parameters
    ----------
    address : str or None
        HOST:PORT of the head, auto or local; None: RAY_ADDRESS, else local.

    Raises
    ------
    UsageError
        If Ray is not installed, or the address is malformed.
    """

    def __init__(self, address: str | None) -> None:
        if find_spec("ray") is None:
            raise UsageError("--engine ray needs Ray: pip install 'medscan[ray]'")
        is_word = address in (None, "auto", "local")
        if not is_word and not re.fullmatch(r"[^/\s]+:[0-9]{1,5}", address or ""):
            shown = printable(address or "", 80)
            raise UsageError(f"--address {shown}: give HOST:PORT of the head, auto or local")
        self.address = address

    def scan(self, tasks: Sequence[Task], assignment: Assignment) -> None:
        """Scan studies; if none has a stack to score, no cluster is needed."""
        if not any(task.stacks for task in tasks):
            LocalEngine().scan(tasks, assignment)
            return
        from medscan.cluster.driver import Driver

        Driver(self.address, assignment).run(tasks)
