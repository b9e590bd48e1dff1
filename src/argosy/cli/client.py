"""The command line's way to an agent's API: whom to ask, asking, and what a refusal means."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from argosy.cli import wire
from argosy.cli.wire import Endpoint
from argosy.errors import ArgosyError, Conflict, InvalidInput, NotFound, Refused, StoreUnavailable
from argosy.folders import default_dirs
from argosy.lab.finding import sockets
from argosy.web.shapes import Fault

API = "/argosy/v1"

T = TypeVar("T")

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

HEALTH_PATIENCE = 2.5
"""Seconds that one of several agents of a cluster has for saying that it is well (it gives its store two)."""

Groups = Sequence[Sequence[str]]
"""Endpoints, those of one cluster together."""


class Unreachable(ArgosyError):
    """No agent answers at the endpoint."""


def endpoints(given: str | None, environ: Mapping[str, str] = os.environ, uid: int | None = None, labs: str = "") -> Groups:
    """Where to ask: what was given, or ARGOSY_ENDPOINT says; otherwise the user's own agent, else the system's, else the machines of the
    lab named by ARGOSY_LAB (or `lab`). `labs`: the folder of all labs ("": this user's own). Raises NotFound if ARGOSY_LAB names no lab."""
    chosen = given or environ.get("ARGOSY_ENDPOINT") or environ.get("FLEETCTL_ENDPOINT")
    if chosen:
        return [[part.strip() for part in chosen.split(",") if part.strip()]]
    if environ.get("ARGOSY_LAB"):
        return [[f"unix://{path}" for path in sockets(environ["ARGOSY_LAB"], labs)]]
    users = dict.fromkeys((os.getuid() if uid is None else uid, 0))
    groups = [[f"unix://{default_dirs(environ, user)[1]}/argosy.sock"] for user in users]
    with contextlib.suppress(NotFound, InvalidInput):
        groups.append([f"unix://{path}" for path in sockets("lab", labs)])
    return groups


class Client:
    """One agent's API: of the first group of endpoints where somebody listens, the first that is well; asked for only when needed. Raises
    the same errors as the API meant, with its message and remedy, and Unreachable if nobody answers."""

    def __init__(self, groups: Groups, timeout: float = 30.0) -> None:
        self.timeout = timeout
        self._groups = [[wire.endpoint(where) for where in group] for group in groups]
        self._chosen: Endpoint | None = None

    def get(self, kind: type[T], path: str, timeout: float | None = None) -> T:
        return self.request(kind, "GET", path, None, timeout)

    def request(self, kind: type[T], method: str, path: str, body: object = None, timeout: float | None = None) -> T:
        """Return the answer, which is of that kind; what a newer agent says beyond it is left out. `path` is below /argosy/v1."""
        answer = self._send(method, path, body, self.timeout if timeout is None else timeout)
        where = self._where()
        try:
            data = answer.read()
        except (OSError, wire.Broken) as error:
            raise _silent(where, error) from error
        if answer.status >= 400:
            raise failure(answer.status, data)
        try:
            return _decoded(data, kind)
        except msgspec.ValidationError as error:
            raise Unreachable(f"the agent at {where.shown} answers what this argosy does not understand: {error}", remedy=SAME) from error
        except ValueError as error:
            raise Unreachable(f"what answers at {where.shown} is no agent: it sends no JSON", remedy=OTHER) from error

    def stream(self, kind: type[T], path: str) -> Iterator[T]:
        """Each line of an endless answer, as it comes."""
        answer = self._send("GET", path, None, None)
        try:
            if answer.status >= 400:
                raise failure(answer.status, answer.read())
            for line in answer.lines():
                if line.strip():
                    yield _decoded(line, kind)
        except (OSError, wire.Broken, ValueError) as error:
            raise _silent(self._where(), error) from error

    def _send(self, method: str, path: str, body: object, timeout: float | None) -> wire.Answer:
        where = self._where()
        payload = None if body is None else msgspec.json.encode(body)
        try:
            stream = where.connect(timeout)
        except OSError as error:
            raise _nobody([(where, error)]) from error
        try:
            return wire.ask(stream, _host(where), method, API + path, payload)
        except (OSError, wire.Broken) as error:
            raise _silent(where, error) from error

    def _where(self) -> Endpoint:
        if self._chosen is None:
            self._chosen = self._choose()
        return self._chosen

    def _choose(self) -> Endpoint:
        everywhere = [where for group in self._groups for where in group]
        if len(everywhere) == 1:
            return everywhere[0]
        refused: list[tuple[Endpoint, OSError]] = []
        for group in self._groups:
            listening = []
            for where in group:
                try:
                    stream = where.connect(HEALTH_PATIENCE)
                except OSError as error:
                    refused.append((where, error))
                    continue
                if len(group) == 1:
                    stream.close()
                    return where
                listening.append(where)
                if _well(stream, where):
                    return where
            if listening:
                return listening[0]
        raise _nobody(refused)


def _decoded(data: bytes, kind: type[T]) -> T:
    """Raises msgspec.ValidationError for JSON of another shape, else ValueError."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        raise
    except ValueError:  # lone surrogates, perhaps, which msgspec does not take
        return msgspec.convert(importlib.import_module("json").loads(data), kind)


def _well(stream: socket.socket, where: Endpoint) -> bool:
    """Whether an agent that listens answers, and its store does."""
    try:
        answer = wire.ask(stream, _host(where), "GET", f"{API}/health", None)
        answer.read()
    except (OSError, wire.Broken):
        return False
    return answer.status == 200


def _host(where: Endpoint) -> str:
    return "localhost" if where.path else where.shown.removeprefix("http://")


START = "start one with argosy up, or a whole cluster with argosy lab up"
SAME = "use the same version of argosy on both sides"
OTHER = "name the agent with --endpoint unix:///path/argosy.sock or http://127.0.0.1:8700"


def _nobody(refused: Sequence[tuple[Endpoint, OSError]]) -> Unreachable:
    forbidden = [where.shown for where, error in refused if isinstance(error, PermissionError)]
    if forbidden:
        return Unreachable(f"you may not use {' or '.join(forbidden)}", remedy=f"ask as root or as a member of its group; or {START}")
    return Unreachable(f"no agent answers at {' or '.join(where.shown for where, _ in refused)}", remedy=START)


def _silent(where: Endpoint, error: Exception) -> Unreachable:
    said = "it took too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return Unreachable(f"the agent at {where.shown} gave no answer: {said}", remedy="its log tells what it does")


def failure(status: int, data: bytes) -> ArgosyError:
    """The error that an answer means: its own words where it has them."""
    try:
        told = _decoded(data, dict[str, Any])["error"]
        known = told if isinstance(told, dict) else {"message": str(told)}
    except (ValueError, KeyError):  # not an agent of ours, perhaps a proxy
        known = {"message": data.decode(errors="replace").strip()[:500]}
    return meant(Fault(status, str(known.get("message") or ""), str(known.get("remedy") or "")))


def meant(fault: Fault) -> ArgosyError:
    """The error that a fault in an answer means."""
    message = fault.message or f"the agent answered with status {fault.code}"
    return ERRORS.get(fault.code, ArgosyError)(message, remedy=fault.remedy)
