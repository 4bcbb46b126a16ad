"""What tests have done in the process beside Orthanc."""

from __future__ import annotations

from pathlib import Path

from medscan.pacs import Login, Web, Wish, fetch, opened_spool, web_address
from tests.pacs import inside


def fetched(into: Path, wish: Wish | None = None, limit: int | None = None, url: str = inside.URL):
    """Fetch from Orthanc into a folder."""
    web = Web(web_address(url, Login()), Login(), 10)
    try:
        with opened_spool(into) as spool:
            return fetch(web, spool, wish or Wish(), limit)
    finally:
        web.close()
