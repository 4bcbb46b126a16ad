"""Words on a terminal -> one call into medscan, and its result on the screen."""

from __future__ import annotations

import sys

from medscan.cli.app import app
from medscan.cli.logs import begin, tell
from medscan.errors import MedscanError


def main() -> None:
    """Run the command line; errors that medscan raises on purpose are one line each.

    Exit codes: 0 done; 1 failed; 2 wrong usage; 3 done, but some files could not be read; 75 try
    again later; 130/143 stopped by a signal.
    """
    begin()
    try:
        app()
    except MedscanError as error:
        tell(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


__all__ = ["app", "main"]
