"""Fetches one file over http or https: judged addresses alone, every redirect judged again, never more than a cap.

Proxies of the environment are not used: a proxy would resolve the name again, after it was judged.
"""

import hashlib
import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

from workbench.documents import parse_document
from workbench.errors import DownloadCancelled, DownloadFailed, InvalidAddress, NotThere, TooLarge
from workbench.intake.addresses import Guard, port_of, shown, split_url

MAX_REDIRECTS = 5
STALL_SECONDS = 30.0
"""How long a connection may stay silent."""

CHUNK_BYTES = 1 << 20
REDIRECTS = frozenset({301, 302, 303, 307, 308})
LIMIT_REMEDY = "the limit for files is the setting TAU_URL_MAX_BYTES"

HEADERS = {"User-Agent": "tauworks", "Accept-Encoding": "identity", "Connection": "close"}

Received = Callable[[int, int | None], None]
"""received(bytes so far, bytes in all or None)."""

Accept = Callable[[str, str], None]
"""accept(url, name) raises where a file of that name is not wanted; it is asked before the body is read."""


@dataclass(frozen=True)
class Fetched:
    """A complete file, and what its server called it."""

    path: Path
    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Limits:
    """How much is fetched at most, and how long a silence is waited for."""

    max_bytes: int
    stall_seconds: float = STALL_SECONDS
    max_redirects: int = MAX_REDIRECTS


@dataclass(frozen=True)
class Answer:
    """A response that is still to be read, and the address that gave it."""

    url: str
    response: http.client.HTTPResponse = field(repr=False)

    @property
    def length(self) -> int | None:
        """The length that the server announces, if it does."""
        text = self.response.headers.get("Content-Length", "")
        return int(text) if text.isdecimal() else None

    @property
    def name(self) -> str:
        """The last part of what the server, or else the address, calls the file; never a path."""
        said = self.response.headers.get_filename() or unquote(split_url(self.url).path)
        return re.split(r"[/\\]", said.strip().rstrip("/\\"))[-1]


def fetch(
    url: str,
    folder: Path,
    guard: Guard,
    limits: Limits,
    *,
    accept: Accept | None = None,
    received: Received | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Fetched:
    """Fetch `url` into `folder`, under a name of our own. What did not arrive whole is removed.

    Raises InvalidAddress, ForbiddenAddress, NotThere, TooLarge, DownloadFailed and DownloadCancelled.
    """
    target = folder / "download"
    with answering(url, guard, limits) as answer:
        if accept is not None:
            accept(answer.url, answer.name)
        try:
            size, sha256 = _receive(answer, target, limits, received, cancelled)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return Fetched(target, answer.name, sha256, size)


def fetch_document(url: str, guard: Guard, limits: Limits) -> dict[str, Any]:
    """The JSON object at `url`. Raises as `fetch` does, and DownloadFailed for anything but a JSON object."""
    with answering(url, guard, limits) as answer:
        raw = b"".join(_chunks(answer, limits.max_bytes))
    try:
        return parse_document(raw)
    except ValueError as error:
        raise DownloadFailed(f"{shown(url)}: the answer {error}; check the address, or try again later") from error


@contextmanager
def answering(url: str, guard: Guard, limits: Limits) -> Iterator[Answer]:
    """The answer to a GET of `url`, redirects followed, each to a judged address."""
    asked = url
    for _ in range(limits.max_redirects + 1):
        with closing(_connect(url, guard, limits)) as connection, closing(_ask(connection, url)) as response:
            if response.status in REDIRECTS and response.headers.get("Location"):
                url = _redirected(url, response.headers["Location"])
                continue
            _require_success(asked, response)
            yield Answer(url, response)
            return
    raise DownloadFailed(f"{shown(asked)}: redirected more than {limits.max_redirects} times; give the final address")


def _redirected(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
        split_url(target)
    except (ValueError, InvalidAddress) as error:
        raise DownloadFailed(
            f"{shown(url)}: redirects to no address that can be followed ({error}); give the final address"
        ) from error
    if split_url(url).scheme == "https" and split_url(target).scheme != "https":
        raise DownloadFailed(
            f"{shown(url)}: redirects from https to {shown(target)}; give an address that stays on https"
        )
    return target


def _connect(url: str, guard: Guard, limits: Limits) -> http.client.HTTPConnection:
    """A connection to a judged address of the host; the certificate is still checked against the host's name."""
    parts = split_url(url)
    host, port = str(parts.hostname), port_of(parts)
    failures = []
    for address in guard.addresses(url):
        try:
            opened = socket.create_connection((address, port), timeout=limits.stall_seconds)
        except OSError as error:
            failures.append(f"{address}: {error}")
            continue
        connection = http.client.HTTPConnection(host, port, timeout=limits.stall_seconds)
        connection.sock = _secured(opened, host, url) if parts.scheme == "https" else opened
        return connection
    raise DownloadFailed(f"{shown(url)}: cannot connect ({'; '.join(failures)}); try again later")


def _secured(opened: socket.socket, host: str, url: str) -> ssl.SSLSocket:
    try:
        return ssl.create_default_context().wrap_socket(opened, server_hostname=host)
    except OSError as error:
        opened.close()
        raise DownloadFailed(f"{shown(url)}: no secure connection ({error}); check the address") from error


def _ask(connection: http.client.HTTPConnection, url: str) -> http.client.HTTPResponse:
    parts = split_url(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("GET", path, headers={**HEADERS, "Host": parts.netloc})
        return connection.getresponse()
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise DownloadFailed(f"{shown(url)}: no answer ({error or type(error).__name__}); try again later") from error


def _require_success(url: str, response: http.client.HTTPResponse) -> None:
    if response.status in (404, 410):
        raise NotThere(f"{shown(url)}: answered {response.status} {response.reason}; check the address")
    if response.status != 200:
        raise DownloadFailed(
            f"{shown(url)}: answered {response.status} {response.reason}, expected 200; try again later"
        )
    coded = response.headers.get("Content-Encoding", "identity")
    if coded != "identity":
        raise DownloadFailed(
            f"{shown(url)}: answered in the encoding {coded}, which was not asked for; fetch it another way"
        )


def _receive(
    answer: Answer,
    target: Path,
    limits: Limits,
    received: Received | None,
    cancelled: Callable[[], bool] | None,
) -> tuple[int, str]:
    size, told, hashed = 0, time.monotonic(), hashlib.sha256()
    with target.open("wb") as file:
        for chunk in _chunks(answer, limits.max_bytes):
            if cancelled is not None and cancelled():
                raise DownloadCancelled(f"{shown(answer.url)}: cancelled after {size:,} bytes")
            size += file.write(chunk)
            hashed.update(chunk)
            if received is not None and time.monotonic() - told > 0.1:
                received(size, answer.length)
                told = time.monotonic()
    if received is not None:
        received(size, size)
    return size, hashed.hexdigest()


def _chunks(answer: Answer, cap: int) -> Iterator[bytes]:
    """The body, never more than `cap` bytes of it and never less than was announced."""
    announced, size = answer.length, 0
    if announced is not None and announced > cap:
        raise TooLarge(f"{shown(answer.url)}: {announced:,} bytes, the limit is {cap:,}; {LIMIT_REMEDY}")
    try:
        while chunk := answer.response.read1(CHUNK_BYTES):
            size += len(chunk)
            if size > cap:
                raise TooLarge(f"{shown(answer.url)}: more than {cap:,} bytes; {LIMIT_REMEDY}")
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise DownloadFailed(f"{shown(answer.url)}: broke off after {size:,} bytes ({error}); try again") from error
    if announced is not None and size != announced:
        raise DownloadFailed(f"{shown(answer.url)}: broke off after {size:,} of {announced:,} bytes; try again")
