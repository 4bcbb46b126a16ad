"""Studies of a PACS -> a folder that scans read; exported objects -> a PACS.

This room alone talks to a PACS, and only for `medscan fetch` and `medscan send`. No library of the
network is imported before one of them needs it.
"""

from medscan.pacs.address import Peer, WebAddress, own_title, peer, web_address
from medscan.pacs.fetching import Fetched, fetch
from medscan.pacs.forgetting import forget
from medscan.pacs.login import Login, read_login
from medscan.pacs.spool import Spool, opened_spool
from medscan.pacs.web import Web
from medscan.pacs.wish import Wish, days

__all__ = [
    "Fetched",
    "Login",
    "Peer",
    "Spool",
    "Web",
    "WebAddress",
    "Wish",
    "days",
    "fetch",
    "forget",
    "opened_spool",
    "own_title",
    "peer",
    "read_login",
    "web_address",
]
