"""The command line's way to an agent's API: HTTP over a unix socket or TCP, with nothing but the standard library (it starts fast)."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from argosy.folders import default_dirs
from argosy.errors import ArgosyError, Conflict, InvalidInput, NotFound, Refused, StoreUnavailable
from argosy.lab.finding import sockets

ERRORS: dict[int, type[ArgosyError]] = {
    400: InvalidInput,
    403: Refused,
    404: NotFound,
    405: InvalidInput,
    409: Conflict,
    413: InvalidInput,
    415: InvalidInput,
    503: StoreUnavailable,
}


class Unreachable(ArgosyError):
    """No agent answers at the endpoint."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def endpoints(given: str | None, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Where to ask, the first that answers: what was given or ARGOSY_ENDPOINT says; otherwise the user's own agent, the system's, and the
    machines of the lab named by ARGOSY_LAB (or `lab`)."""
    chosen = given or environ.get("ARGOSY_ENDPOINT") or environ.get("FLEETCTL_ENDPOINT")
    if chosen:
        return tuple(part.strip() for part in chosen.split(",") if part.strip())
    paths = [] if environ.get("ARGOSY_LAB") else [f"{default_dirs(environ, uid)[1]}/argosy.sock" for uid in dict.fromkeys((os.getuid(), 0))]
    try:
        paths += [str(path) for path in sockets(environ.get("ARGOSY_LAB") or "lab")]
    except (NotFound, InvalidInput):
        if environ.get("ARGOSY_LAB"):
            raise
    return tuple(f"unix://{path}" for path in paths)


class Client:
    """One agent's API. Raises the same errors as the API meant, with its message and remedy, and Unreachable if nobody answers."""

    def __init__(self, wheres: Sequence[str], timeout: float = 30.0) -> None:
        self.timeout = timeout
        self._urls = [_endpoint(where) for where in wheres]

    def _send(self, method: str, path: str, body: Any, timeout: float | None) -> http.client.HTTPResponse:
        refused: list[str] = []
        for url in list(self._urls):
            connection = _connection(url, timeout)
            try:
                connection.connect()
            except PermissionError as error:
                raise Unreachable(f"not allowed to use {url.geturl()}", remedy="ask as the agent's user or root") from error
            except OSError:
                refused.append(url.geturl())
                continue
            self._urls = [url]
            return _asked(connection, method, path, body, url.geturl())
        raise Unreachable(
            f"no agent answers at {' or '.join(refused)}", remedy="start one with argosy up, or a whole cluster with argosy lab up"
        )

    def ask(self, method: str, path: str, body: Any = None, timeout: float | None = None) -> Any:
        """The answer's JSON (None for an empty one)."""
        response = self._send(method, path, body, self.timeout if timeout is None else timeout)
        data = response.read()
        if response.status >= 400:
            raise failure(response.status, data)
        return json.loads(data) if data.strip() else None

    def stream(self, method: str, path: str, body: Any = None) -> Iterator[Any]:
        """Each line of an endless answer, as JSON, as it comes."""
        response = self._send(method, path, body, None)
        if response.status >= 400:
            raise failure(response.status, response.read())
        while line := response.readline():
            if line.strip():
                yield json.loads(line)


def _endpoint(where: str) -> SplitResult:
    url = urlsplit(where if "://" in where else f"http://{where}")
    if url.scheme not in ("unix", "http") or not (url.path if url.scheme == "unix" else url.hostname):
        raise InvalidInput(f"{where!r} is not an endpoint", remedy="write unix:///path/argosy.sock or http://127.0.0.1:8700")
    return url


def _connection(url: SplitResult, timeout: float | None) -> http.client.HTTPConnection:
    if url.scheme == "unix":
        return _UnixConnection(url.path, timeout)
    return http.client.HTTPConnection(url.hostname or "", url.port or 8700, timeout=timeout)


def _asked(connection: http.client.HTTPConnection, method: str, path: str, body: Any, where: str) -> http.client.HTTPResponse:
    headers = {"Accept": "application/json"}
    payload = None
    if body is not None:
        payload = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    try:
        connection.request(method, path, body=payload, headers=headers)
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"the agent at {where} gave no answer: {error or type(error).__name__}") from error


def failure(status: int, data: bytes) -> ArgosyError:
    """The error that an answer means: its own words where it has them."""
    message, remedy = "", ""
    try:
        error = json.loads(data).get("error", {})
        message, remedy = str(error.get("message", "")), str(error.get("remedy", "") or "")
    except (ValueError, AttributeError):
        message = data.decode(errors="replace").strip()[:500]
    return ERRORS.get(status, ArgosyError)(message or f"the agent answered with status {status}", remedy=remedy)


def segment(text: str) -> str:
    """A user's word as one segment of a path."""
    return quote(text, safe="@:")
