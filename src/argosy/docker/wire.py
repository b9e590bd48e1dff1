"""HTTP with one Docker Engine: where it is, which version of its API is spoken, and what its answers mean as errors.

A connection carries one request: an engine that was started anew never answers through one that has died meanwhile, and on a unix socket
a connection costs nothing. Streams (events, logs, pulls) are bounded in how long they take to begin, not in how long they last.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
from yarl import URL

from argosy.docker.base import Filters, Json, Version
from argosy.errors import ArgosyError, Conflict, DockerUnavailable, InvalidInput, NotFound, Refused, RuntimeFailed, Unsuitable

OLDEST = (1, 40)
NEWEST = (1, 48)
"""Versions of the API that this client speaks: Docker 19.03 to 28, and later ones that still understand the newest of these."""

CONNECT = 5.0
MAX_MESSAGE = 4096
SLICE = 1 << 18
AWAY = "is the engine running, and may we connect?"


class Endpoint(msgspec.Struct, frozen=True):
    """Where an engine is: a unix socket, or a host and port, there with TLS or without."""

    socket: str = ""
    host: str = ""
    port: int = 0
    secure: bool = False

    @property
    def base(self) -> str:
        return "http://docker" if self.socket else f"{'https' if self.secure else 'http'}://{self.host}:{self.port}"


def endpoint(url: str, tls: bool) -> Endpoint:
    """`unix:///run/docker.sock`, `tcp://HOST:PORT` (2376 with TLS, 2375 without), `https://...`, `http://...`. Or InvalidInput."""
    parts = urlsplit(url)
    if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
        return Endpoint(socket=parts.path)
    try:
        secure = parts.scheme == "https" or (parts.scheme == "tcp" and tls)
        port = parts.port or (2376 if secure else 2375)
    except ValueError:
        port = 0
    if parts.scheme not in ("tcp", "http", "https") or not parts.hostname or not port or parts.path.strip("/") or parts.username:
        raise InvalidInput(f"{url!r} is no address of a Docker Engine", remedy="unix:///run/docker.sock or tcp://HOST:PORT")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Endpoint(host=host, port=port, secure=secure)


def choose(engine: str, oldest: str) -> str:
    """The version to speak with an engine that offers `oldest` to `engine`. Raises Unsuitable if there is none."""
    try:
        high, low = _number(engine), _number(oldest or "1.0")
    except ValueError:
        raise Unsuitable(f"the Docker Engine names no version of its API: {engine[:40]!r}, {oldest[:40]!r}") from None
    chosen = min(high, NEWEST)
    if chosen < OLDEST:
        raise Unsuitable(f"the Docker Engine speaks API {engine} at most; {_text(OLDEST)} is needed", remedy="Docker 19.03 or newer")
    if chosen < low:
        raise Unsuitable(f"the Docker Engine speaks API {oldest} at least; {_text(NEWEST)} is known here", remedy="a newer Argosy")
    return _text(chosen)


def _number(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def filters_text(filters: Filters | None) -> Mapping[str, str]:
    """The query parameter that says so; none without filters."""
    return {"filters": json.dumps({name: list(values) for name, values in filters.items()})} if filters else {}


def refused(what: str, status: int, message: str) -> ArgosyError:
    """The error that an HTTP status of the engine's, with its message, stands for."""
    said = f"cannot {what}: {message or f'the engine answered {status}'}"
    if status == 400:
        return InvalidInput(said)
    if status in (401, 403):
        return Refused(said)
    if status == 404:
        return NotFound(said)
    if status == 409:
        return Conflict(said)
    return DockerUnavailable(said) if status == 503 else RuntimeFailed(said)


class Answer:
    """An answer's body, in pieces."""

    def __init__(self, response: aiohttp.ClientResponse, what: str, wire: Wire) -> None:
        self._response = response
        self._what = what
        self._wire = wire

    async def read(self, n: int = -1, /) -> bytes:
        """Up to n bytes as soon as there are some, b"" at the end; -1: all."""
        with self._wire.translated(self._what):
            return await self._response.content.read(n)


class Wire:
    """Requests to one engine. Bodies are JSON, a tar, or a tar in pieces."""

    def __init__(self, url: str, *, tls: ssl.SSLContext | None = None, timeout: float = 60.0) -> None:
        self.url = url
        self.where = endpoint(url, tls is not None)
        self.tls = tls
        self.timeout = timeout
        self.spoken: Version | None = None
        self._session: aiohttp.ClientSession | None = None
        self._asking = asyncio.Lock()
        self._closed = False

    async def call(
        self,
        what: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Json | None = None,
        timeout: float | None = None,
    ) -> Any:
        """The JSON that the engine answers, None if nothing. `what` completes "cannot ..."; `timeout` replaces the usual one; inf: none."""
        limit = self.timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(limit if limit != float("inf") else None):
                async with self.open(what, method, path, params=params, body=body) as answer:
                    data = await answer.read(-1)
        except TimeoutError:
            raise self._slow(what, limit) from None
        try:
            return json.loads(data) if data.strip() else None
        except ValueError:
            raise RuntimeFailed(f"cannot {what}: the engine's answer is no JSON: {data[:80]!r}") from None

    @contextlib.asynccontextmanager
    async def open(
        self,
        what: str,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Json | AsyncIterable[bytes] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[Answer, None]:
        """The engine's good answer, to be read; its connection ends with the context. It must begin within `timeout` seconds; None: at any
        time (a pull begins when the registry has answered)."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(timeout):
                    api = (await self.negotiate()).api
                    with self.translated(what):
                        response = await stack.enter_async_context(self._send(method, f"/v{api}/{path}", params, body, headers))
                        if response.status >= 400:
                            raise refused(what, response.status, _message(await response.content.read(MAX_MESSAGE)))
            except TimeoutError:
                raise self._slow(what, timeout or 0) from None
            yield Answer(response, what, self)

    async def negotiate(self) -> Version:
        """What is spoken with this engine; asked once, and again after it was away (it may have been replaced)."""
        if self.spoken is None:
            async with self._asking:
                if self.spoken is None:
                    self.spoken = await self._ask()
        return self.spoken

    async def ping(self, timeout: float) -> bool:
        """Whether it answers within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout), self._send("GET", "/_ping", None, None, None) as answer:
                return answer.status == 200
        except (TimeoutError, OSError, aiohttp.ClientError):
            return False

    async def close(self) -> None:
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _ask(self) -> Version:
        what = "ask the Docker Engine for its version"
        try:
            async with asyncio.timeout(self.timeout):
                with self.translated(what):
                    async with self._send("GET", "/version", None, None, None) as answer:
                        data = await answer.content.read(1 << 20)
                        if answer.status >= 500:
                            raise DockerUnavailable(f"cannot {what}: {self.url} answered {answer.status}")
        except TimeoutError:
            raise self._slow(what, self.timeout) from None
        try:
            found = json.loads(data)
            engine, oldest = str(found["ApiVersion"]), str(found.get("MinAPIVersion", ""))
            name = str((found.get("Components") or [{}])[0].get("Name", ""))
        except (LookupError, ValueError, TypeError, AttributeError):
            raise Unsuitable(f"what answers at {self.url} is no Docker Engine: {data[:80]!r}") from None
        release, system, arch = (str(found.get(key, "")) for key in ("Version", "Os", "Arch"))
        return Version(release, choose(engine, oldest), engine, oldest, system, arch, name)

    @contextlib.asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Json | AsyncIterable[bytes] | bytes | None,
        headers: Mapping[str, str] | None,
    ) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        query = "&".join(f"{quote(name)}={quote(value, safe='')}" for name, value in (params or {}).items())
        sent = dict(headers or {})
        data: AsyncIterable[bytes] | bytes | None  # what is short is sent whole
        if isinstance(body, dict):
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        else:
            data = _slices(body) if isinstance(body, bytes) else body
            sent.setdefault("Content-Type", "application/json" if body is None else "application/x-tar")
        url = URL(f"{self.where.base}{path}{'?' if query else ''}{query}", encoded=True)
        response = await self._open_session().request(method, url, data=data, headers=sent, allow_redirects=False)
        try:
            yield response
        finally:
            response.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise DockerUnavailable("this client of the Docker Engine is closed")
        if self._session is None:
            connector: aiohttp.BaseConnector
            if self.where.socket:
                connector = aiohttp.UnixConnector(self.where.socket, force_close=True, limit=0)
            else:
                connector = aiohttp.TCPConnector(ssl=self.tls or True, force_close=True, limit=0)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False, auto_decompress=False)
        return self._session

    @contextlib.contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """What breaks a connection becomes DockerUnavailable."""
        try:
            yield
        except (aiohttp.ClientError, OSError, EOFError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "closed" not in str(error):
                raise
            self.spoken = None
            raise DockerUnavailable(f"cannot {what}: the Docker Engine at {self.url} is away ({error})", remedy=AWAY) from error

    def _slow(self, what: str, limit: float) -> DockerUnavailable:
        return DockerUnavailable(
            f"cannot {what}: the Docker Engine at {self.url} did not answer within {limit:g} s",
            remedy="it may be done nevertheless: look before you repeat it",
        )


async def _slices(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), SLICE):
        yield body[start : start + SLICE]


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip()
