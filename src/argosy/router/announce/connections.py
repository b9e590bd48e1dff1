"""How many requests an instance works on, as the kernel sees it: TCP connections to it, and those forwarded to a container.

A connection is at work while its client has the last word, while bytes wait in it, or when data went over it in the last IDLE seconds.
Routers close a connection that they keep after 4 s, and all of them at once when they let go of an instance.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable
from pathlib import Path

from argosy.errors import InvalidInput
from argosy.router.naming import parse_address
from argosy.sockdiag import Connection, Target, connections

IDLE = 5.0
CONNTRACK = Path("/proc/net/nf_conntrack")

Count = Callable[[], Awaitable[int]]
"""Returns how many connections to the announced address are at work; raises OSError where they cannot be seen."""


def counting(address: str) -> Count:
    """Return the count for HOST:PORT. What is no address has no connections."""

    async def count() -> int:
        return await asyncio.to_thread(_count, address)

    return count


def _count(address: str) -> int:
    targets = _targets(address)
    if not targets:
        return 0
    forwarded = 0
    with contextlib.suppress(OSError):  # only root may read it, and it is there only where packets are forwarded
        forwarded = sum(is_forwarded(line, targets) for line in CONNTRACK.read_text().splitlines())
    return sum(map(is_at_work, connections(targets))) + forwarded


def _targets(address: str) -> frozenset[Target]:
    try:
        parsed = parse_address(address)
    except InvalidInput:
        return frozenset()
    if parsed.literal:
        return frozenset({(parsed.host, parsed.port)})
    found = socket.getaddrinfo(parsed.host, parsed.port, type=socket.SOCK_STREAM)
    return frozenset((str(where[0]), parsed.port) for *_, where in found if "%" not in str(where[0]))


def is_at_work(connection: Connection) -> bool:
    """Return True if a request may be in flight on the connection."""
    asked, answered = (connection.received, connection.sent) if connection.serves else (connection.sent, connection.received)
    return connection.queued > 0 or asked < answered or min(asked, answered) < IDLE


def is_forwarded(line: str, targets: Collection[Target]) -> bool:
    """Return True if a line of nf_conntrack is an established connection to a target that is translated to another address."""
    words = line.split()
    if "tcp" not in words or "ESTABLISHED" not in words:
        return False
    try:
        (to, port), (by, from_port) = _each(words, "dst", "dport")[0], _each(words, "src", "sport")[1]
    except IndexError:
        return False
    return (to, port) in targets and (to, port) != (by, from_port)


def _each(words: Iterable[str], ip: str, port: str) -> list[Target]:
    """The original's and the answer's address of that kind."""
    ips = [str(ipaddress.ip_address(word[4:])) for word in words if word.startswith(f"{ip}=")]
    ports = [int(word.partition("=")[2]) for word in words if word.startswith(f"{port}=")]
    return list(zip(ips, ports, strict=False))
