"""How a PACS is talked to: by DICOMweb, or as a DICOM application entity.

Only `medscan fetch` and `medscan send` do. No library of the network is imported before one of them
needs it.
"""

from medscan.pacs.address import Peer, WebAddress, own_title, peer, web_address
from medscan.pacs.answer import Answer, reason
from medscan.pacs.database import Database, opened
from medscan.pacs.dimse import Node
from medscan.pacs.login import Login, read_login
from medscan.pacs.objects import DicomObject, NotSent, find_objects
from medscan.pacs.patience import GIVE_UP_AFTER, patiently
from medscan.pacs.query import ARRIVING, Archive
from medscan.pacs.web import Web

__all__ = [
    "ARRIVING",
    "GIVE_UP_AFTER",
    "Answer",
    "Archive",
    "Database",
    "DicomObject",
    "Login",
    "Node",
    "NotSent",
    "Peer",
    "Web",
    "WebAddress",
    "find_objects",
    "opened",
    "own_title",
    "patiently",
    "peer",
    "read_login",
    "reason",
    "web_address",
]
