"""The command line -> one call into medscan, and its result on the screen."""

from __future__ import annotations

import sys
from typing import NoReturn

from medscan.cli.app import app, tree
from medscan.cli.logs import begin, tell
from medscan.cli.output import checked_output
from medscan.errors import MedscanError
from medscan.files import check_open_files
from medscan.offline import stay_offline


def main() -> None:
    """Run the command line; an error that medscan raises on purpose becomes one line.

    Exit statuses are those of `medscan.errors.EXIT_STATUSES`.
    """
    begin()
    if sys.argv[1:3] != ["weights", "pull"]:
        stay_offline()
    try:
        check_open_files()
        with checked_output():
            tree()(prog_name="medscan")
    except MedscanError as error:
        _end(error)
    except RuntimeError as error:
        from medscan.clip import device_error

        described = device_error(error)  # such as a GPU that is full while a detector is fitted
        if described is None:
            raise
        _end(described)
    except KeyboardInterrupt:
        sys.exit(130)


def _end(error: MedscanError) -> NoReturn:
    tell(str(error))
    sys.exit(error.exit_code)


__all__ = ["app", "main", "tree"]
