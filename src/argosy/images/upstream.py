"""Asking another registry, as Docker's clients do: what it wants to know of us (basic, or a token from its realm) it says on the first
request; tokens are kept until they end."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from argosy.errors import ArgosyError, InvalidInput, NotFound, Refused
from argosy.reconcile import Clock

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
"""How long an upstream may send nothing."""

LARGEST_TOKEN_ANSWER = 256 * 1024
TOKENS_AT_MOST = 1024
LEAST_TOKEN_SECONDS = 60.0
MARGIN_SECONDS = 10.0


class UpstreamAway(ArgosyError):
    """It cannot be reached, or fails, or has enough of us."""

    status = 503


class UpstreamRefuses(Refused):
    """It does not let us see or do that."""


class UpstreamAbsent(NotFound):
    """There is no such thing there."""


class Challenge(msgspec.Struct, frozen=True):
    """What WWW-Authenticate asks for. `scheme`: basic or bearer."""

    scheme: str
    parameters: dict[str, str]


_CHALLENGE = re.compile(r"\s*(?P<scheme>[A-Za-z]+)\s+(?P<rest>.*)", re.DOTALL)
_PARAMETER = re.compile(r'(?P<name>[A-Za-z_]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]+))')


def parse_challenge(header: str) -> Challenge | None:
    """The first challenge of a header that we can meet; None if there is none."""
    found = _CHALLENGE.fullmatch(header[:8192])
    if found is None or found["scheme"].lower() not in ("basic", "bearer"):
        return None
    parameters = {
        each["name"].lower(): re.sub(r"\\(.)", r"\1", each["quoted"]) if each["quoted"] is not None else each["plain"]
        for each in _PARAMETER.finditer(found["rest"])
    }
    return Challenge(found["scheme"].lower(), parameters)


def parse_upstream(url: str) -> str:
    """scheme://host[:port] of a registry. Raises InvalidInput."""
    split = urlsplit(url)
    shown = f"{split.scheme}://{split.hostname}"
    if split.username or split.password:
        raise InvalidInput(f"{shown} carries credentials", remedy="give them apart: URLs are shown and logged")
    if split.scheme not in ("http", "https") or not split.hostname or split.path.rstrip("/") not in ("", "/v2") or split.query:
        raise InvalidInput(f"{shown} is no registry", remedy="write https://HOST, such as https://registry-1.docker.io")
    return f"{split.scheme}://{split.netloc}"


class Upstream:
    """`user`, `password`: "" to ask as anybody. Use as a context manager."""

    def __init__(self, url: str, clock: Clock, *, user: str = "", password: str = "") -> None:
        self.url = parse_upstream(url)
        self._clock = clock
        self._basic = aiohttp.encode_basic_auth(user, password, "utf-8") if user else ""
        self._authorization: dict[str, tuple[str, float]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Upstream:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def asked(
        self, method: str, repository: str, path: str, headers: dict[str, str] | None = None, *, actions: str = "pull"
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to /v2/<repository>/<path>, which is good. Raises UpstreamRefuses, UpstreamAbsent and UpstreamAway."""
        async with self.answered(method, f"{repository}/{path}", f"repository:{repository}:{actions}", headers or {}) as response:
            yield response

    @asynccontextmanager
    async def answered(self, method: str, path: str, scope: str, headers: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """The same for any path beneath /v2/ and the scope of a token that it takes."""
        try:
            async with self._first_good(method, f"{self.url}/v2/{path}", scope, headers) as response:
                self._check(response)
                yield response
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise UpstreamAway(f"{self.url} cannot be reached: {type(error).__name__}") from error

    @asynccontextmanager
    async def _first_good(self, method: str, url: str, scope: str, headers: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Asked as it was right the last time, and once more as it wants it if that is not good any more."""
        assert self._session is not None
        known = self._known(scope)
        with_known = headers | ({"Authorization": known} if known else {})
        async with self._session.request(method, url, headers=with_known) as response:
            if response.status != 401:
                yield response
                return
            challenges = [parse_challenge(header) for header in response.headers.getall("WWW-Authenticate", [])]
        authorization = await self._met([each for each in challenges if each is not None], scope)
        async with self._session.request(method, url, headers=headers | {"Authorization": authorization}) as response:
            yield response

    def _known(self, scope: str) -> str:
        authorization, until = self._authorization.get(scope, ("", 0.0))
        return authorization if self._clock.monotonic() < until else ""

    def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status == 404:
            raise UpstreamAbsent(f"{self.url} answers 404 to {response.url.path}")
        if response.status in (401, 403):
            remedy = "it wants other credentials" if self._basic else "give it a user and password"
            raise UpstreamRefuses(f"{self.url} refuses with {response.status}: {response.url.path}", remedy=remedy)
        if response.status == 405:
            raise UpstreamRefuses(f"{self.url} answers 405 to {response.method} {response.url.path}: it does not do that")
        if response.status not in (200, 202, 206):
            raise UpstreamAway(f"{self.url} answers {response.status}")

    async def _met(self, challenges: list[Challenge], scope: str) -> str:
        """The Authorization header that meets one of them."""
        for challenge in challenges:
            if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
                authorization, seconds = await self._token(challenge.parameters, scope)
                break
            if challenge.scheme == "basic" and self._basic:
                authorization, seconds = self._basic, 3600.0
                break
        else:
            raise UpstreamRefuses(f"{self.url} wants to know who asks", remedy="give it a user and password")
        if len(self._authorization) >= TOKENS_AT_MOST:
            self._authorization.clear()
        self._authorization[scope] = (authorization, self._clock.monotonic() + seconds)
        return authorization

    async def _token(self, parameters: dict[str, str], scope: str) -> tuple[str, float]:
        assert self._session is not None
        realm = parameters["realm"]
        if urlsplit(realm).scheme not in (("https",) if self.url.startswith("https:") else ("http", "https")):
            raise UpstreamAway(f"{self.url} wants tokens from {realm[:200]!r}, which is not safe to ask")
        query = {"scope": scope} | ({"service": parameters["service"]} if parameters.get("service") else {})
        headers = {"Authorization": self._basic} if self._basic else {}
        async with self._session.get(realm, params=query, headers=headers, timeout=aiohttp.ClientTimeout(total=30)) as response:
            if response.status in (400, 401, 403):
                raise UpstreamRefuses(f"{urlsplit(realm).netloc} gives no token for {scope}")
            if response.status != 200:
                raise UpstreamAway(f"{urlsplit(realm).netloc} answers {response.status} when asked for a token")
            answer = _parsed(await response.content.read(LARGEST_TOKEN_ANSWER))
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise UpstreamAway(f"{urlsplit(realm).netloc} gives no token")
        seconds = answer.get("expires_in")
        return f"Bearer {token}", max(LEAST_TOKEN_SECONDS, float(seconds) if isinstance(seconds, int) else 0.0) - MARGIN_SECONDS


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


async def read_at_most(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The body. Raises UpstreamAway if it is longer."""
    taken = bytearray()
    async with asyncio.timeout(SILENCE_SECONDS):
        async for piece in response.content.iter_any():
            taken += piece
            if len(taken) > limit:
                raise UpstreamAway(f"{response.url.host} sends more than {limit} bytes of a manifest")
    return bytes(taken)
