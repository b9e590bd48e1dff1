"""HTTP for one question and its answer, on a socket: as much of it as an agent's API needs, and quick to import.

Asked as HTTP/1.0, so that an answer ends where the connection does and nothing comes in chunks.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from typing import NamedTuple

from argosy.errors import ArgosyError, InvalidInput

SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~@:")
DEFAULT_PORT = 8700
LONGEST_HEAD = 65_536


class Broken(ArgosyError):
    """What came back is no answer, or only a part of one."""


class Endpoint(NamedTuple):
    """Where an agent listens: a unix socket's `path`, or `host` and `port`. `shown` is how people write it."""

    shown: str
    path: str = ""
    host: str = ""
    port: int = 0

    def connect(self, timeout: float | None) -> socket.socket:
        """Raises OSError."""
        if not self.path:
            return socket.create_connection((self.host, self.port), timeout)
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            stream.settimeout(timeout)
            stream.connect(self.path)
        except BaseException:
            stream.close()
            raise
        return stream


def endpoint(text: str) -> Endpoint:
    """`unix:///path`, `/path`, `http://host:port` or `host:port`. Raises InvalidInput for anything else."""
    kind, slashes, rest = text.partition("://")
    if not slashes:
        kind, rest = ("unix", text) if text.startswith("/") else ("http", text)
    if kind == "unix" and rest.startswith("/"):
        return Endpoint(f"unix://{rest}", path=rest)
    host, port = _host_and_port(rest.removesuffix("/")) if kind == "http" else ("", 0)
    if not host:
        raise InvalidInput(f"{text!r} is not an endpoint", remedy="write unix:///path/argosy.sock or http://127.0.0.1:8700")
    return Endpoint(f"http://{f'[{host}]' if ':' in host else host}:{port}", host=host, port=port)


def _host_and_port(text: str) -> tuple[str, int]:
    host, bracket, rest = text.removeprefix("[").partition("]") if text.startswith("[") else (*text.partition(":")[:1], "", "")
    port = rest if bracket else text[len(host) :]
    if not port:
        number = DEFAULT_PORT
    elif port[0] == ":" and port[1:].isascii() and port[1:].isdecimal() and 0 < int(port[1:]) < 65536:
        number = int(port[1:])
    else:
        return "", 0
    allowed = "-.:%_" if bracket else "-._"
    return (host, number) if all(sign.isalnum() or sign in allowed for sign in host) else ("", 0)


class Answer:
    """An answer whose head has come: read the rest at once, or line by line as it comes. Raises OSError and Broken."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._file: io.BufferedReader = stream.makefile("rb")
        try:
            self.status, self._length = _head(self._file)
        except BaseException:
            self._file.close()
            raise

    def read(self) -> bytes:
        with self._stream, self._file:
            data = self._file.read()
        if self._length is not None and len(data) < self._length:
            raise Broken("the answer broke off")
        return data

    def lines(self) -> Iterator[bytes]:
        with self._stream, self._file:
            while line := self._file.readline():
                yield line


def ask(stream: socket.socket, host: str, method: str, path: str, body: bytes | None) -> Answer:
    """Sends a question and waits for the head of its answer. Takes the stream over. Raises OSError and Broken."""
    kind = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head = f"{method} {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n{kind}\r\n"
    try:
        stream.sendall(head.encode() + (body or b""))
        return Answer(stream)
    except BaseException:
        stream.close()
        raise


def _head(file: io.BufferedReader) -> tuple[int, int | None]:
    """Status and length (None: until the end)."""
    version, _, rest = file.readline(LONGEST_HEAD).decode("latin-1").partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdecimal()):
        raise Broken("no answer came" if not version else "what answers there is no agent: it does not speak HTTP")
    length = None
    left = LONGEST_HEAD
    while line := file.readline(left).decode("latin-1").strip():
        left -= len(line)
        if left <= 0:
            raise Broken("what answers there is no agent: its answer has no end of headers")
        name, _, value = line.partition(":")
        if name.lower() == "content-length" and value.strip().isdecimal():
            length = int(value)
    return int(code), length


def quoted(text: str) -> str:
    """A user's word as one segment of a path, or as a value of a query."""
    return "".join(chr(byte) if byte in SAFE else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def query(pairs: list[tuple[str, str]]) -> str:
    """`?a=1&b=2`, or "" for none."""
    return "?" + "&".join(f"{quoted(name)}={quoted(value)}" for name, value in pairs) if pairs else ""
