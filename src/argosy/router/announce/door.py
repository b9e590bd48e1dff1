"""The announcer's side of the etcd v2 keys door, and its checks. Small on purpose: it runs inside sidekicks and containers.

The standard library's client in threads: one request at a time, each with its own short timeouts.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Protocol
from urllib.parse import quote, urlencode, urlsplit

from argosy.errors import InvalidInput, StoreUnavailable
from argosy.router.naming import printable

DEFAULT = "http://127.0.0.1:4001"
TIMEOUT = 2.0
ENDPOINT_VARIABLES = ("ETCDCTL_ENDPOINTS", "ETCDCTL_ENDPOINT", "ETCDCTL_PEERS")


class Door(Protocol):
    """Where keys are announced. All raise StoreUnavailable when it cannot be reached and InvalidInput when it refuses."""

    async def put(self, key: str, value: str, ttl: int) -> None: ...

    async def renew(self, key: str, value: str, ttl: int) -> bool:
        """Sets the key again if it still has that value or is gone. False: somebody else has announced it since, and it is left alone."""

    async def remove(self, key: str, value: str) -> None:
        """Removes the key if it still has that value: one that somebody else has announced since is left alone."""


def endpoints_of(environ: Mapping[str, str], given: str = "") -> tuple[str, ...]:
    """The doors to try in turn: those given, else etcdctl's own variables, else this machine's. Raises InvalidInput."""
    text = given or next((environ[name] for name in ENDPOINT_VARIABLES if environ.get(name)), DEFAULT)
    return tuple(_endpoint(part.strip()) for part in text.split(",") if part.strip())


def _endpoint(text: str) -> str:
    address = text if "://" in text else f"http://{text}"
    try:
        url = urlsplit(address)
        good = url.scheme == "http" and bool(url.hostname) and (url.port or 0) >= 0 and address.isprintable() and " " not in address
    except ValueError:
        good = False
    if not good:
        raise InvalidInput(f"{printable(text)!r} is no keys door", remedy="write http://HOST:PORT, as in ETCDCTL_ENDPOINT")
    return address


class KeysDoor:
    """The Door contract over HTTP. `endpoints` are tried in turn, beginning with the one that answered last."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._endpoints = list(endpoints)

    async def put(self, key: str, value: str, ttl: int) -> None:
        form = urlencode({"value": value, "ttl": ttl})
        status, body = await asyncio.to_thread(self._ask, "PUT", _path(key), form)
        if status not in (200, 201):
            raise InvalidInput(f"the keys door refuses {key}: {_reason(status, body)}")

    async def renew(self, key: str, value: str, ttl: int) -> bool:
        for condition in ({"prevValue": value}, {"prevExist": "false"}):
            form = urlencode({"value": value, "ttl": ttl, **condition})
            status, body = await asyncio.to_thread(self._ask, "PUT", _path(key), form)
            if status in (200, 201):
                return True
            if status == 412:  # it has another value, or is there again
                return False
            if status != 404:
                break
        raise InvalidInput(f"the keys door refuses {key}: {_reason(status, body)}")

    async def remove(self, key: str, value: str) -> None:
        status, body = await asyncio.to_thread(self._ask, "DELETE", f"{_path(key)}?{urlencode({'prevValue': value})}", None)
        if status not in (200, 404, 412):  # 404: it is gone already; 412: it has another value now
            raise InvalidInput(f"the keys door refuses to remove {key}: {_reason(status, body)}")

    def _ask(self, method: str, path: str, form: str | None) -> tuple[int, bytes]:
        reasons = []
        for endpoint in list(self._endpoints):
            headers = {"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}
            try:
                status, body = _request(endpoint, method, path, form, headers, TIMEOUT)
            except (OSError, HTTPException) as error:
                reasons.append(f"{endpoint}: {error or type(error).__name__}")
                continue
            if status >= 500:
                reasons.append(f"{endpoint}: {_reason(status, body)}")
                continue
            self._endpoints.remove(endpoint)
            self._endpoints.insert(0, endpoint)
            return status, body
        raise StoreUnavailable(f"no keys door answers: {'; '.join(reasons)}", remedy="is the agent of this machine running?")


async def check(url: str, timeout: float) -> str:
    """Why what the check asks for cannot be reached; "" when it can. Any answer from 200 to 399 is good."""
    try:
        return await asyncio.to_thread(_check, url, timeout)
    except (OSError, HTTPException, ValueError) as error:
        return str(error) or type(error).__name__


def _check(url: str, timeout: float) -> str:
    parts = urlsplit(url)
    if parts.scheme == "tcp":
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout).close()
        return ""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    status, _ = _request(f"{parts.scheme}://{parts.netloc}", "GET", quote(path, safe="/?&=%@:+,;~-._!*'()$"), None, {}, timeout)
    return "" if 200 <= status < 400 else f"it answers {status}"


def _request(endpoint: str, method: str, path: str, body: str | None, headers: Mapping[str, str], timeout: float) -> tuple[int, bytes]:
    url = urlsplit(endpoint)
    connection = (
        HTTPSConnection(url.hostname or "", url.port, timeout=timeout, context=_any_certificate())
        if url.scheme == "https"
        else HTTPConnection(url.hostname or "", url.port, timeout=timeout)
    )
    try:
        connection.request(method, path, body, {**headers, "Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read(65_536)
    finally:
        connection.close()


def _any_certificate() -> ssl.SSLContext:
    """A check asks whether the app answers, not who it is: its certificate is for the name that clients use, not for this address."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _path(key: str) -> str:
    return "/v2/keys" + quote(key, safe="/@:+=-._~")


def _reason(status: int, body: bytes) -> str:
    try:
        said = json.loads(body)
        return f"{status} {said['message']} ({said.get('cause', '')})"
    except (ValueError, KeyError, TypeError):
        return f"{status} {printable(body.decode(errors='replace'), 200)}"
