"""A DICOMweb service (DICOM PS3.18): what it holds, its objects as they are stored, and storing.

Searches go through dicomweb-client, without its retries, which repeat any failure in silence.
Objects go as bytes, since reading and writing them again may change them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.dataset import Dataset

from medscan.archive import text
from medscan.decoding import file_errors
from medscan.errors import FileError, LoginError, PacsError, UnavailableError
from medscan.pacs.address import WebAddress
from medscan.pacs.answer import Answer, read_answer
from medscan.pacs.libraries import need
from medscan.pacs.login import Login
from medscan.pacs.message import Message
from medscan.pacs.multipart import bodies, boundary_of
from medscan.pacs.objects import DicomObject
from medscan.text import is_uid

if TYPE_CHECKING:
    from requests import PreparedRequest, Session

PAGE = 500
"""Results that one search asks for; a server may give fewer."""
CHUNK = 1 << 20
"""Bytes that are read at a time."""
CONNECT_S = 10.0
"""Seconds to wait for a connection."""
ANY_SYNTAX = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""As stored: a server asked for one syntax ends its answer at an object that it cannot convert."""
JSON = "application/dicom+json"
_LATER = {408, 425, 429, 502, 503, 504, 507}
"""Statuses after which the same request may succeed."""
LARGEST_ANSWER = 1 << 24
"""Most bytes of an answer about what was stored."""

STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
"""Tags of the UIDs of studies, series and instances."""
log = logging.getLogger(__name__)
Search = Callable[..., Any]


class NotThereError(PacsError):
    """A PACS does not have what it is asked for, or nothing is at its address."""


class Web:
    """A DICOMweb service.

    Parameters
    ----------
    address : WebAddress
    login : Login
    timeout_s : float
        Longest wait for the next bytes of an answer.
    """

    answers_each = False
    """Some say success of objects that they do not store."""

    def __init__(self, address: WebAddress, login: Login, timeout_s: float = 60.0) -> None:
        need("requests", "dicomweb_client")
        from dicomweb_client.web import DICOMwebClient

        self.address = address
        self._timeout = (CONNECT_S, timeout_s)
        self._session = _session(login)
        self._client = DICOMwebClient(
            address.url, self._session, timeout=self._timeout, permissive_uid=True
        )
        self._client.set_http_retry_params(retry=False)

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    # --- search -----------------------------------------------------------------------------------

    def studies(self, filters: Mapping[str, str], fields: Sequence[str] = ()) -> Iterator[Dataset]:
        """Yield what it says of studies; it may ignore filters, so the caller matches again.

        Raises
        ------
        UnavailableError
            If it does not answer.
        PacsError
            If its answer is not what DICOM says.
        """
        search = self._client.search_for_studies
        for one in self._pages(search, STUDY, filters, fields):
            yield self._read(one)

    def series(self, study: str, fields: Sequence[str] = ()) -> Iterator[Dataset]:
        """Yield what it says of the series of a study. Raises as `studies`."""
        search = partial(self._client.search_for_series, study_instance_uid=study)
        for one in self._pages(search, SERIES, {}, fields):
            yield self._read(one)

    def instances(self, study: str, series: str) -> list[str]:
        """Return the UIDs of the instances of a series. Raises as `studies`."""
        search = partial(
            self._client.search_for_instances,
            study_instance_uid=study,
            series_instance_uid=series,
        )
        return [_value(one, INSTANCE) for one in self._pages(search, INSTANCE)]

    def _pages(
        self,
        search: Search,
        uid: str,
        filters: Mapping[str, str] | None = None,
        fields: Sequence[str] = (),
    ) -> Iterator[dict[str, Any]]:
        """Ask for page after page until one brings nothing new: a server may ignore the offset."""
        seen: set[str] = set()
        offset = 0
        while True:
            with self.asking():
                page = search(
                    limit=PAGE,
                    offset=offset,
                    search_filters=dict(filters or {}),
                    fields=list(fields) or None,
                )
                found = {_value(one, uid): one for one in page}
            new = {name: one for name, one in found.items() if name not in seen}
            if not new:
                return
            seen.update(new)
            offset += len(page)
            for name, one in new.items():
                if is_uid(name):
                    yield one
                else:
                    log.warning("%s lists something without a valid UID", self.address.host)

    def _read(self, one: dict[str, Any]) -> Dataset:
        with self.asking():
            return Dataset.from_json(one)

    # --- retrieve ---------------------------------------------------------------------------------

    def retrieve(self, study: str, series: str, instance: str = "") -> Iterator[Iterator[bytes]]:
        """Yield the objects of a series, or one of them, as the pieces that they arrive in.

        Raises
        ------
        UnavailableError
            If its answer is cut short: the object that was being read is not whole then.
        PacsError
            If it refuses.
        """
        url = f"{self.address.url}/studies/{study}/series/{series}"
        url += f"/instances/{instance}" if instance else ""
        # Compressed, Orthanc gives 45 objects a second instead of 1,000.
        headers = {"Accept": ANY_SYNTAX, "Accept-Encoding": "identity"}
        with self.asking():
            answer = self._session.get(url, headers=headers, stream=True, timeout=self._timeout)
            with answer:
                answer.raise_for_status()
                if answer.status_code != 200:
                    raise PacsError(f"it answers {answer.status_code}")
                boundary = boundary_of(answer.headers.get("Content-Type", ""))
                yield from bodies(answer.iter_content(CHUNK), boundary)

    # --- store ------------------------------------------------------------------------------------

    def patients(self, study: str) -> set[str]:
        """Return the PatientIDs that it has for a study; none if it has no such study."""
        found = self.studies({"StudyInstanceUID": study}, ("PatientID",))
        return {text(one, "PatientID") for one in found if text(one, "StudyInstanceUID") == study}

    def holds(self, study: str, series: str) -> set[str]:
        """Return the UIDs of the instances that it has of a series; none of one that it has not."""
        try:
            return set(self.instances(study, series))
        except NotThereError:
            return set()

    def has_same(self, one: DicomObject) -> bool:
        """Whether what it has under the UID of an object is that object.

        Patient and study may differ, since a PACS may correct them.
        """
        from medscan.inherited import IDENTITY

        pieces = self.retrieve(one.study, one.series, one.instance)
        held = [b"".join(body) for body in pieces]
        try:
            with file_errors():
                theirs = [pydicom.dcmread(BytesIO(body)) for body in held]
                ours = pydicom.dcmread(one.path)
                for ds in (ours, *theirs):
                    for keyword in (*IDENTITY, "SpecificCharacterSet"):
                        ds.pop(keyword, None)
                return theirs == [ours]
        except FileError:  # what it has cannot be read
            return False

    def store(self, objects: Sequence[DicomObject]) -> Answer:
        """Send objects, and return what it says of each, whatever the status of its answer.

        Raises
        ------
        UnavailableError
            If it does not answer.
        PacsError
            If it lets medscan store nothing.
        """
        if not objects:
            return Answer()
        body = Message(objects)
        content_type = f'multipart/related; type="application/dicom"; boundary={body.boundary}'
        headers = {"Content-Type": content_type, "Accept": JSON}
        url = f"{self.address.url}/studies"
        with self.asking():
            answer = self._session.post(
                url, body, headers=headers, stream=True, timeout=self._timeout
            )
            with answer:
                content: bytes = answer.raw.read(LARGEST_ANSWER, decode_content=True)
            found = read_answer(content)
            if not (found.referenced or found.failed):
                answer.raise_for_status()
            return found

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Turn what the libraries raise into errors of medscan, which name no patient."""
        from requests import HTTPError, JSONDecodeError, RequestException
        from urllib3.exceptions import HTTPError as BrokenError

        host = self.address.host
        try:
            yield
        except HTTPError as error:
            raise _refusal(host, error.response.status_code) from None
        except (JSONDecodeError, RecursionError):
            raise PacsError(f"{host} does not answer as DICOMweb does (no JSON)") from None
        except (RequestException, BrokenError, ConnectionError, TimeoutError) as error:
            raise UnavailableError(f"{host} does not answer: {_cause(error)}") from None
        except PacsError as error:
            raise type(error)(f"{host}: {error}") from None
        except (ValueError, TypeError, KeyError, AttributeError, LookupError) as error:
            # Of dicomweb-client and pydicom, for JSON of another form.
            what = type(error).__name__
            raise PacsError(f"{host} does not answer as DICOMweb does ({what})") from None


def _session(login: Login) -> Session:
    """Return a session that takes nothing from ~/.netrc or the environment, and is sent nowhere."""
    import requests

    session = requests.Session()
    session.trust_env = False
    session.max_redirects = 0
    session.verify = login.ca or True
    if login.certificate:
        session.cert = (login.certificate, login.key) if login.key else login.certificate
    if login.user:
        session.auth = (login.user.encode(), login.password.encode())
    elif login.token:

        def bearer(request: PreparedRequest) -> PreparedRequest:
            request.headers["Authorization"] = f"Bearer {login.token}"
            return request

        session.auth = bearer
    return session


def _refusal(host: str, status: int) -> PacsError:
    if status in (401, 403):
        return LoginError(f"{host} refuses this login (status {status}); see --login")
    if status in _LATER:
        return UnavailableError(f"{host} cannot answer now (status {status})")
    if status == 404:
        return NotThereError(f"{host} knows of no such thing (status 404): is the address right?")
    return PacsError(f"{host} refuses what it is asked (status {status})")


_CAUSES = {
    "certificate verify failed": "its certificate is not signed by an authority that is trusted",
    "Connection refused": "connection refused",
    "timed out": "time-out",
    "Name or service not known": "no host of that name",
    "Temporary failure in name resolution": "no host of that name",
    "Exceeded 0 redirects": "it redirects to another address; give that one",
    "IncompleteRead": "its answer was cut short",
}


def _cause(error: Exception) -> str:
    """Say why a request failed, without the address that it was for."""
    told = str(error)
    known = next((words for part, words in _CAUSES.items() if part in told), "")
    return known or re.sub(r"(?<!^)(?=[A-Z][a-z])", " ", type(error).__name__).lower()


def _value(one: dict[str, Any], tag: str) -> str:
    """Value of an element in the JSON of DICOM; empty without one."""
    values = one.get(tag, {}).get("Value")
    return str(values[0]) if values else ""
