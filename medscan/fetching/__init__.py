"""Studies of a PACS -> a folder that scans read."""

from medscan.fetching.forget import forget
from medscan.fetching.run import Fetched, fetch
from medscan.fetching.spool import Spool, opened_spool
from medscan.fetching.wish import Wish, days

__all__ = ["Fetched", "Spool", "Wish", "days", "fetch", "forget", "opened_spool"]
