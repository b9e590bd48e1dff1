"""The kernel's own list of TCP connections, and ending some of them: sock_diag(7) over netlink. Blocks; ending needs CAP_NET_ADMIN.

`ss -K` does the same. An ended connection fails with ECONNABORTED for the process that holds it, as if its peer had reset it.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Collection, Iterator
from typing import NamedTuple

NETLINK_SOCK_DIAG = 4
BY_FAMILY, DESTROY = 20, 21
NLM_ACK, NLM_DUMP = 0x5, 0x301
NLMSG_ERROR, NLMSG_DONE = 2, 3
ESTABLISHED = 1
TCP_INFO = 2

_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBxI48s")
_ID = slice(4, 52)
"""struct inet_diag_sockid inside struct inet_diag_msg: source port, destination port, source, destination, interface, cookie."""

_QUEUES = struct.Struct("=II")
_QUEUES_AT, _ATTRIBUTES_AT = 56, 72
_ATTRIBUTE = struct.Struct("=HH")
_SENT_AT, _RECEIVED_AT = 44, 52
"""tcpi_last_data_sent and tcpi_last_data_recv in struct tcp_info: milliseconds ago."""

Target = tuple[str, int]
"""(IP address, port)."""


class Connection(NamedTuple):
    """One end of an established connection. `serves`: this end is the target, not its client. `queued`: bytes that nobody has read or
    acknowledged yet. `sent`, `received`: seconds since the last data."""

    serves: bool
    queued: int
    sent: float
    received: float


def connections(targets: Collection[Target]) -> list[Connection]:
    """Return the ends in this network namespace of all established connections to one of the targets. Needs no right. Raises OSError."""
    found = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(2.0)
        for family in (socket.AF_INET, socket.AF_INET6):
            wanted = {_wire(family, (_mapped(family, target[0]), target[1])) for target in targets if _may_be(family, target[0])}
            for body in _messages(kernel, family, 1 << (TCP_INFO - 1)) if wanted else ():
                ident = body[_ID]
                serves = (ident[0:2], ident[4:20]) in wanted
                if serves or (ident[2:4], ident[20:36]) in wanted:
                    info = _attribute(body, TCP_INFO)
                    sent, received = (struct.unpack_from("=I", info, at)[0] / 1000 for at in (_SENT_AT, _RECEIVED_AT))
                    found.append(Connection(serves, sum(_QUEUES.unpack_from(body, _QUEUES_AT)), sent, received))
    return found


def _may_be(family: int, ip: str) -> bool:
    return ":" not in ip or family == socket.AF_INET6


def _mapped(family: int, ip: str) -> str:
    """An IPv4 address as a socket that takes both kinds has it."""
    return f"::ffff:{ip}" if family == socket.AF_INET6 and ":" not in ip else ip


def _attribute(body: bytes, kind: int) -> bytes:
    rest = body[_ATTRIBUTES_AT:]
    while len(rest) >= _ATTRIBUTE.size:
        length, found = _ATTRIBUTE.unpack_from(rest)
        if found == kind:
            return rest[_ATTRIBUTE.size : length].ljust(_RECEIVED_AT + 4, b"\0")
        rest = rest[max(_ATTRIBUTE.size, (length + 3) & ~3) :]
    return bytes(_RECEIVED_AT + 4)


def end_connections(targets: Collection[Target]) -> int:
    """Ends every established connection of this network namespace to one of the targets; returns how many. Raises OSError (EPERM
    without the right, EOPNOTSUPP on a kernel without CONFIG_INET_DIAG_DESTROY)."""
    ended = 0
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(2.0)
        for family in (socket.AF_INET, socket.AF_INET6):
            wanted = {_wire(family, target) for target in targets if (":" in target[0]) == (family == socket.AF_INET6)}
            if wanted:
                found = [ident for body in _messages(kernel, family) if ((ident := body[_ID])[2:4], ident[20:36]) in wanted]
                ended += sum(_end(kernel, family, ident) for ident in found)
    return ended


def _wire(family: socket.AddressFamily, target: Target) -> tuple[bytes, bytes]:
    return struct.pack("!H", target[1]), ipaddress.ip_address(target[0]).packed.ljust(16, b"\0")


def _send(kernel: socket.socket, kind: int, flags: int, family: int, ident: bytes, attributes: int = 0) -> None:
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, attributes, 1 << ESTABLISHED, ident)
    kernel.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, 1, 0) + body)


def _answers(kernel: socket.socket) -> Iterator[tuple[int, bytes]]:
    """The messages that are in the next datagram."""
    datagram = kernel.recv(1 << 18)
    while len(datagram) >= _HEADER.size:
        length, kind = _HEADER.unpack_from(datagram)[:2]
        yield kind, datagram[_HEADER.size : length]
        datagram = datagram[(length + 3) & ~3 :]


def _messages(kernel: socket.socket, family: int, attributes: int = 0) -> Iterator[bytes]:
    _send(kernel, BY_FAMILY, NLM_DUMP, family, bytes(48), attributes)
    while True:
        for kind, body in _answers(kernel):
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                _raise(body)
            yield body


def _end(kernel: socket.socket, family: int, ident: bytes) -> bool:
    """False when it has ended by itself meanwhile."""
    _send(kernel, DESTROY, NLM_ACK, family, ident)
    for kind, body in _answers(kernel):
        if kind == NLMSG_ERROR and body[:4] != bytes(4):
            if -struct.unpack_from("=i", body)[0] in (errno.ENOENT, errno.ESTALE):
                return False
            _raise(body)
    return True


def _raise(body: bytes) -> None:
    number = -struct.unpack_from("=i", body)[0]
    raise OSError(number, os.strerror(number))
